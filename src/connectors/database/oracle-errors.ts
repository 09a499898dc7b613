import { AppError, type ErrorCode } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';

const notOurs = 'the listener is there but refuses: see its log';
const full =
  'the database has no room for another session: raise processes and sessions, or shrink the pools';
const numbers: Readonly<Record<number, readonly [ErrorCode, hint?: string]>> = {
  18: ['target_busy', full],
  20: ['target_busy', full],
  54: ['target_busy', 'a row or table is locked by somebody else'],
  60: ['target_busy', 'the statement was part of a deadlock: it can succeed now'],
  257: ['quota_exceeded', 'the archiver has no room'],
  942: ['request_rejected', 'the table does not exist, or the account may not see it'],
  1005: ['authentication_failed', 'the password is empty'],
  1013: ['cancelled'],
  1017: ['authentication_failed', 'check user name and password; both are case-sensitive since 11g'],
  1031: ['permission_denied', 'grant the account what the statement needs'],
  1033: ['target_busy', 'the database is starting or shutting down'],
  1034: ['target_busy', 'the database is not started'],
  1035: ['permission_denied', 'the database is open to accounts with RESTRICTED SESSION alone'],
  1045: ['permission_denied', 'grant the account CREATE SESSION'],
  1089: ['target_busy', 'the database is shutting down'],
  1109: ['target_busy', 'the database is not open'],
  1536: ['quota_exceeded', "the account's quota of the tablespace is used up"],
  1652: ['quota_exceeded', 'the temporary tablespace is full'],
  1653: ['quota_exceeded', 'the tablespace is full'],
  1654: ['quota_exceeded', 'the tablespace is full'],
  4021: ['target_busy'],
  8177: ['target_busy'],
  12170: ['connect_timeout'],
  12505: [
    'invalid_configuration',
    'the listener does not know this SID: most databases want a service, as …@host:1521/service',
  ],
  12514: ['invalid_configuration', 'the listener does not know this service: ask it by lsnrctl services'],
  12516: ['target_busy', full],
  12519: ['target_busy', full],
  12520: ['target_busy', full],
  12521: ['invalid_configuration', 'the listener does not know this instance'],
  12526: ['target_busy', 'the database is in restricted mode'],
  12527: ['target_busy', 'the database is in restricted mode'],
  12528: ['target_busy', 'the database is being started'],
  12541: ['connection_refused', 'no listener: check host and port'],
  12660: [
    'invalid_configuration',
    'the server demands the encryption of Oracle Net, which is not spoken: use tcps',
  ],
  28000: ['authentication_failed', 'the account is locked'],
  28001: ['authentication_failed', 'the password has expired'],
  28009: ['permission_denied', 'SYS can log in as SYSDBA alone, which is not offered'],
  28040: ['authentication_failed', 'the server allows no log-in of this protocol version'],
  30036: ['quota_exceeded', 'the undo tablespace is full'],
};

const lost = new Set([28, 1012, 1041, 2396, 3113, 3114, 3135, 12537, 12547, 12570, 12571, 12583]);

const ofDriver: Readonly<Record<string, readonly [ErrorCode, hint?: string]>> = {
  'NJS-011': ['request_rejected'],
  'NJS-097': ['request_rejected'],
  'NJS-098': ['request_rejected', 'the statement has not as many placeholders as there are parameters'],
  'NJS-116': [
    'authentication_failed',
    'the account has the password verifier of Oracle 10 alone: set its password anew',
  ],
  'NJS-123': ['target_timeout'],
  'NJS-138': ['invalid_configuration', 'the database is older than Oracle 12.1'],
  'NJS-500': ['connection_lost'],
  'NJS-501': ['connection_lost'],
  'NJS-503': ['connection_lost'],
  'NJS-505': ['tls_failed'],
  'NJS-506': ['tls_failed'],
  'NJS-510': ['connect_timeout'],
  'NJS-511': ['connection_refused', notOurs],
  'NJS-518': numbers[12514]!,
  'NJS-519': numbers[12505]!,
  'NJS-521': ['connection_lost'],
  'NJS-533': numbers[12660]!,
};

/** An error of the server, its listener or oracledb as ours; the text quotes it with its number. */
export function classifyOracleError(error: unknown): AppError {
  const known = classifySocketError(error);
  if (known) return known;
  const { code, message = '' } = (error ?? {}) as { code?: unknown; message?: string };
  const [text = ''] = message.split('\nHelp: ');
  const number = Number(/\bORA-(\d{1,5})\b/.exec(text)?.[1] ?? Number.NaN);
  const prefix = typeof code === 'string' ? code : (/^(NJS-\d{3})\b/.exec(text)?.[1] ?? '');
  const entry: readonly [ErrorCode, hint?: string] =
    numbers[number] ??
    (lost.has(number) ? ['connection_lost'] : undefined) ??
    ofDriver[prefix] ??
    (Number.isNaN(number) ? ['protocol_error'] : ['request_rejected']);
  const [ours, hint] = entry;
  return new AppError(
    ours,
    text
      .replace(/\(CONNECTION_ID=[^)]*\)/g, '')
      .replace(/\s*\n\s*/g, ' ')
      .trim() || undefined,
    {
      cause: error,
      ...(hint ? { details: { hint } } : {}),
    },
  );
}
