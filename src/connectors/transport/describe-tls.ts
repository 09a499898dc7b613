import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';

const dayMs = 86_400_000;
/** Issuers that renew by themselves have done so by then. */
const soonDays = 14;
const maxChain = 8;

/** Protocol, cipher, the certificate with its chain and expiry of a secured socket, for the `tls` stage of a test. */
export function describeTls(socket: TLSSocket, how: string): string {
  return [
    `${socket.getProtocol()}, ${socket.getCipher().name} (${how})`,
    ...describeCertificate(socket),
    ...(socket.authorized ? [] : ['NOT verified']),
  ].join(', ');
}

/** What the peer showed of itself, from its own certificate up the chain; empty when it showed nothing. */
export function describeCertificate(socket: TLSSocket): string[] {
  const chain = chainOf(socket);
  const [own, ...issuers] = chain;
  if (!own) return [];
  return [
    `subject ${commonName(own.subject)}`,
    `issuer ${commonName(own.issuer)}`,
    ...(own.valid_to ? [`valid until ${expiry(own.valid_to)}`] : []),
    ...(issuers.length > 0
      ? [
          `chain ${issuers.map(({ subject, valid_to }) => `${commonName(subject)} (until ${expiry(valid_to)})`).join(' ← ')}`,
        ]
      : []),
  ];
}

function chainOf(socket: TLSSocket): DetailedPeerCertificate[] {
  const chain: DetailedPeerCertificate[] = [];
  // An empty object when nothing was shown; a root is its own issuer.
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.subject && !chain.includes(next) && chain.length < maxChain) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}

function expiry(validTo: string): string {
  const until = new Date(validTo);
  const days = Math.floor((until.getTime() - Date.now()) / dayMs);
  const date = until.toISOString().slice(0, 10);
  if (days < 0) return `${date}, EXPIRED`;
  return days < soonDays ? `${date}, in ${days} days: renew it` : date;
}

function commonName(name: Record<string, string | string[] | undefined> | undefined): string {
  const value = name?.['CN'] ?? name?.['O'];
  return (Array.isArray(value) ? value[0] : value) ?? 'without a name';
}
