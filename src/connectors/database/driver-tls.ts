import type { ConnectionOptions } from 'node:tls';
import type { ConnectorContext } from '../connector.ts';
import type { DatabaseConfig, DatabaseTarget } from './database-client.ts';
import type { TlsDemand } from './dialect.ts';

export interface TlsSettings {
  demand: TlsDemand;
  verified: boolean;
  options: ConnectionOptions;
}

/**
 * Trust material demands TLS and verifies; else the URL decides; where it says nothing either, it is
 * as `unsaid` says, which is what the database's own driver does. TLS that is only preferred verifies
 * nobody: most such servers present a certificate that nobody signed.
 */
export function tlsSettings(
  config: DatabaseConfig,
  { tls, verify }: DatabaseTarget,
  ctx: ConnectorContext,
  { unsaid, how }: { unsaid: TlsDemand; how: string },
): TlsSettings {
  const { verifyCertificate, trustStoreName, certificateName, keyStoreName } = config;
  const named = Boolean(trustStoreName ?? certificateName ?? keyStoreName);
  const demand = tls ?? (named ? 'demand' : unsaid);
  if (demand === 'none') {
    if (named)
      ctx.warn('jdbcUrl switches TLS off, so the truststore, keystore and certificate have no effect');
    if (!verifyCertificate) ctx.warn('verifyCertificate has no effect, because TLS is not spoken');
    return { demand, verified: false, options: {} };
  }
  const trusted = Boolean(trustStoreName ?? certificateName);
  const verified = verify === true || (verifyCertificate && (trusted || (verify ?? demand === 'demand')));
  if (verify === true && !verifyCertificate)
    ctx.warn('verifyCertificate has no effect: jdbcUrl demands that the server is verified');
  if (verifyCertificate && !verified)
    ctx.warn(
      demand === 'prefer'
        ? `TLS is used only where the server offers it, and the server is not verified: name a truststore or certificate, or set ${how} in jdbcUrl`
        : `jdbcUrl demands TLS but no verification of the server: name a truststore or certificate, or set ${how}`,
    );
  const options = ctx.trust.tls({
    verifyCertificate: verified,
    ...(trustStoreName === undefined ? {} : { trustStoreName }),
    ...(keyStoreName === undefined ? {} : { keyStoreName }),
    ...(certificateName === undefined ? {} : { certificateName }),
  });
  return { demand, verified, options: { ...options, rejectUnauthorized: verified } };
}
