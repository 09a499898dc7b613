import type { TLSSocket } from 'node:tls';

/** Protocol, cipher, certificate and expiry of a secured socket, for the `tls` stage of a test. */
export function describeTls(socket: TLSSocket, how: string): string {
  const { subject, issuer, valid_to } = socket.getPeerCertificate();
  return [
    `${socket.getProtocol()}, ${socket.getCipher().name} (${how})`,
    `subject ${commonName(subject)}`,
    `issuer ${commonName(issuer)}`,
    ...(valid_to ? [`valid until ${new Date(valid_to).toISOString().slice(0, 10)}`] : []),
    ...(socket.authorized ? [] : ['NOT verified']),
  ].join(', ');
}

function commonName(name: Record<string, string | string[] | undefined> | undefined): string {
  const value = name?.['CN'] ?? name?.['O'];
  return (Array.isArray(value) ? value[0] : value) ?? 'without a name';
}
