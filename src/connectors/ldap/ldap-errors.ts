import type { PasswordPolicyValue } from 'ldapts';
import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from '../transport/socket-errors.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';

/** Result codes (RFC 4511, appendix A) that have a better name than "rejected". */
const resultCodes: Record<number, [ErrorCode, string?]> = {
  1: ['request_rejected', 'The server may demand a log-in before the request.'],
  2: ['protocol_error'],
  3: ['target_timeout', 'The time limit of the search was reached: narrow the filter, or raise it.'],
  4: ['quota_exceeded', 'The server limits the number of entries: narrow the filter.'],
  7: ['authentication_failed', 'The server does not take simple binds.'],
  8: ['permission_denied', 'The server demands stronger protection: use startTls, or an ldaps:// address.'],
  10: [
    'request_rejected',
    'The server refers to another one, and referrals are not followed: connect to that one.',
  ],
  11: [
    'quota_exceeded',
    'The server limits what a search may look at: narrow the filter, or index the attribute.',
  ],
  13: ['permission_denied', 'The server demands TLS: use startTls, or an ldaps:// address.'],
  32: ['request_rejected', 'There is no such entry: check baseDn, and that the account may see it.'],
  34: ['request_rejected', 'Check the spelling of the distinguished name.'],
  48: ['authentication_failed', 'The entry has no password to log in with.'],
  49: ['authentication_failed', 'Check bind DN and password.'],
  50: ['permission_denied'],
  51: ['target_busy'],
  52: ['target_busy'],
};

/** Sub-codes of Active Directory behind result code 49. */
const activeDirectory: Record<string, string> = {
  '525': 'Active Directory knows no such user.',
  '52e': 'Active Directory says that the password is wrong.',
  '530': 'The account may not log in at this time.',
  '531': 'The account may not log in from this machine.',
  '532': 'The password has expired.',
  '533': 'The account is disabled.',
  '701': 'The account has expired.',
  '773': 'The password must be changed first.',
  '775': 'The account is locked.',
};

/** Why a log-in is refused, or useless, by the server's password policy (draft-behera-ldap-password-policy 6.2). */
const policyErrors: Record<number, string> = {
  0: 'The password has expired.',
  1: 'The account is locked.',
  2: 'The password must be changed first.',
};

/** What a person should know of the password that was taken; undefined: nothing. */
export function policyHint(policy: PasswordPolicyValue | undefined): string | undefined {
  const { error, graceAuthNsRemaining, timeBeforeExpiration } = policy ?? {};
  if (error !== undefined && policyErrors[error]) return policyErrors[error];
  if (graceAuthNsRemaining !== undefined)
    return `The password has expired, and is taken ${graceAuthNsRemaining} more times.`;
  if (timeBeforeExpiration !== undefined)
    return `The password expires in ${Math.ceil(timeBeforeExpiration / 3600)} hours.`;
  return undefined;
}

/** The result code of a refusal; undefined for any other error. */
export function resultCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || error instanceof AppError) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'number' && / Code: 0x[0-9a-f]+$/.test(error.message) ? code : undefined;
}

/** An error of ldapts or a socket as one of ours; undefined when it is neither. */
export function classifyLdapError(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  if (!(error instanceof Error)) return undefined;
  const result = resultCodeOf(error);
  const as = (code: ErrorCode, message = error.message, hint?: string) =>
    new AppError(code, message, { cause: error, details: hint ? { hint } : {} });
  if (result !== undefined) {
    const [code, hint] = resultCodes[result] ?? ['request_rejected'];
    const said = `The server answered: ${error.message.replace(/\0/g, '').trim()}`;
    const subCode =
      result === 49 ? /\bdata ([0-9a-f]{3})\b/i.exec(error.message)?.[1]?.toLowerCase() : undefined;
    const { passwordPolicy } = error as { passwordPolicy?: PasswordPolicyValue };
    const policy = policyErrors[passwordPolicy?.error ?? -1];
    return as(code, said, policy ?? ((subCode && activeDirectory[subCode]) || hint));
  }
  const tls = classifyTlsError(error);
  if (tls) return tls;
  const { code } = error as { code?: unknown };
  const socket = socketErrorCode(code);
  if (socket) return as(socket);
  if (/Connection closed|Socket error|not established|socket has been ended/i.test(error.message))
    return as('connection_lost', 'The server closed the connection');
  if (/timed out|timeout/i.test(error.message)) return as('target_timeout');
  return undefined;
}
