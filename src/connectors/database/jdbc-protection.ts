import type { DbType } from './db-types.ts';
import { JdbcUrlError } from './jdbc-grammar.ts';

/** How a URL wants its transport. */
export interface Protection {
  /** Undefined: the URL says nothing about it, so the driver's own default applies. */
  tls: 'none' | 'prefer' | 'demand' | undefined;
  /** Whether the server's certificate is verified; undefined: the URL does not say. */
  verify: boolean | undefined;
  /** Chain verified, host name not (`verify-ca`). */
  anyHostName?: true;
}

/** Names of the parameters that `protectionOf` reads. */
export const tlsParameter =
  /^(sslmode|ssl|usessl|requiressl|verifyservercertificate|trustservercertificate|encrypt|sslconnection|tls|tlsinsecure|tlsallowinvalid.*|sslverification)$/i;

/** What the parameters about TLS ask for, in one vocabulary; a value that none of them knows is refused. */
export function protectionOf(
  dbType: DbType,
  settings: Readonly<Record<string, string>>,
  implied: 'demand' | undefined,
): Protection {
  const flag = (name: string): boolean | undefined => {
    const value = settings[name]?.toLowerCase();
    if (value === undefined) return undefined;
    if (value === '' || value === 'true' || value === '1' || value === 'yes') return true;
    if (value === 'false' || value === '0' || value === 'no') return false;
    throw new JdbcUrlError(`has the parameter ${name}, which must be true or false`);
  };
  const mode = settings['sslmode']?.toLowerCase().replaceAll('-', '_');
  if (mode !== undefined) {
    const known = sslModes[mode];
    if (!known) throw new JdbcUrlError('has the parameter sslmode with a value that is not known');
    return known;
  }
  if (dbType === 'SQL_SERVER' && settings['encrypt'] !== undefined) {
    const value = settings['encrypt'].toLowerCase();
    const demand = ['true', 'mandatory', 'strict', '1', 'yes'].includes(value);
    if (!demand && !['false', 'optional', 'no', '0', 'no_tls'].includes(value))
      throw new JdbcUrlError('has the parameter encrypt with a value that is not known');
    return {
      tls: demand ? 'demand' : 'none',
      verify: demand ? flag('trustservercertificate') !== true : undefined,
    };
  }
  if (dbType === 'SQL_SERVER' || dbType === 'SYBASE') {
    const value = settings['ssl']?.toLowerCase();
    const jtds: Record<string, Protection> = {
      off: { tls: 'none', verify: undefined },
      request: { tls: 'prefer', verify: false },
      require: { tls: 'demand', verify: false },
      authenticate: { tls: 'demand', verify: true },
    };
    if (value !== undefined && !jtds[value])
      throw new JdbcUrlError('has the parameter ssl with a value that is not known');
    return value === undefined
      ? { tls: implied, verify: flag('trustservercertificate') === true ? false : undefined }
      : jtds[value]!;
  }
  const verification = settings['sslverification']?.toLowerCase();
  if (verification !== undefined && !['full', 'ca', 'none'].includes(verification))
    throw new JdbcUrlError('has the parameter SSLVerification with a value that is not known');
  const unverified =
    flag('tlsinsecure') === true ||
    flag('tlsallowinvalidcertificates') === true ||
    flag('tlsallowinvalidhostnames') === true ||
    flag('trustservercertificate') === true ||
    flag('verifyservercertificate') === false ||
    verification === 'none' ||
    verification === 'ca';
  const on = flag('ssl') ?? flag('tls') ?? flag('usessl') ?? flag('sslconnection');
  const demanded = implied === 'demand' || on === true || flag('requiressl') === true;
  return {
    tls: demanded ? 'demand' : on === false ? 'none' : undefined,
    verify: unverified ? false : flag('verifyservercertificate'),
  };
}

const sslModes: Readonly<Record<string, Protection>> = {
  disable: { tls: 'none', verify: undefined },
  disabled: { tls: 'none', verify: undefined },
  allow: { tls: 'prefer', verify: false },
  prefer: { tls: 'prefer', verify: false },
  preferred: { tls: 'prefer', verify: false },
  require: { tls: 'demand', verify: false },
  required: { tls: 'demand', verify: false },
  trust: { tls: 'demand', verify: false },
  verify_ca: { tls: 'demand', verify: true, anyHostName: true },
  verify_full: { tls: 'demand', verify: true },
  verify_identity: { tls: 'demand', verify: true },
};
