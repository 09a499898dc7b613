import { checkServerIdentity, type PeerCertificate } from 'node:tls';

/** Whether the common name is the host's, a leading `*.` standing for one label; for REQUIRED_CN. */
export function checkCommonName(host: string, certificate: PeerCertificate): Error | undefined {
  const cn = (certificate.subject as Record<string, string | string[] | undefined> | undefined)?.['CN'];
  const names = cn === undefined ? [] : [cn].flat();
  if (names.some((name) => matches(name.toLowerCase(), host.toLowerCase()))) return undefined;
  return wrongName(`its common name is ${names.join(', ') || 'missing'}`);
}

/** Whether a subject alternative name is the host's; the common name does not count. For REQUIRED_AN_PN. */
export function checkAlternativeName(host: string, certificate: PeerCertificate): Error | undefined {
  if (!certificate.subjectaltname) return wrongName('it has no subject alternative name');
  return checkServerIdentity(host, { ...certificate, subject: {} } as PeerCertificate);
}

function matches(name: string, host: string): boolean {
  if (name === host) return true;
  const at = host.indexOf('.');
  return name.startsWith('*.') && at > 0 && name.slice(1) === host.slice(at) && name.slice(2).includes('.');
}

function wrongName(why: string): Error {
  return Object.assign(new Error(why), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
}
