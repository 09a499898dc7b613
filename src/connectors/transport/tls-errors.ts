import { AppError, type ErrorCode } from '../../errors.ts';

const untrusted = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_DECRYPT_CERT_SIGNATURE',
  'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'CERT_CHAIN_TOO_LONG',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
]);

const notTls = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_UNKNOWN_PROTOCOL',
]);

const unexpectedEnd = 'ERR_SSL_UNEXPECTED_EOF_WHILE_READING';
const maxCauses = 8;

/**
 * The target hung up within the handshake without a word on why. It may pass a moment later: a server
 * that starts accepts before it speaks TLS.
 */
export class HandshakeCutOff extends AppError {
  constructor(cause?: unknown) {
    super('connection_lost', 'The target closed the connection during the TLS handshake', {
      cause,
      details: {
        hint: 'The server may speak no TLS at this port, may still be starting, or may turn away a client without a certificate (keyStoreName).',
      },
    });
  }
}

/** Whether the failure, or what caused it, is a handshake that was cut off. */
export function isHandshakeCutOff(error: unknown): boolean {
  return causesOf(error).some((each) => each instanceof HandshakeCutOff);
}

/**
 * A target's alert about the client's certificate, also as a cause: with TLS 1.3 it comes after the
 * handshake, wherever the client is by then. undefined for every other error.
 */
export function refusedClientCertificate(error: unknown): AppError | undefined {
  if (!causesOf(error).some((each) => /ALERT_.*(CERTIFICATE|UNKNOWN_CA)/.test(codeOf(each))))
    return undefined;
  return new AppError('tls_failed', 'The target refused the client certificate, or wants one', {
    cause: error,
    details: { hint: 'Name the keystore that holds the client certificate: keyStoreName.' },
  });
}

/** What ended a handshake (Node's and OpenSSL's codes) as one of ours. */
export function classifyHandshakeError(error: unknown, host?: string): AppError {
  const code = codeOf(error);
  if (code === 'ECONNRESET' || code === 'EPIPE' || code === unexpectedEnd) return new HandshakeCutOff(error);
  return (
    classifyTlsError(error, host) ??
    new AppError('tls_failed', `The TLS handshake failed (${textOf(error)})`, { cause: error })
  );
}

/** An error of TLS, in its handshake or after it, as one of ours; undefined for any other error. */
export function classifyTlsError(error: unknown, host?: string): AppError | undefined {
  if (error instanceof AppError) return undefined;
  const code = codeOf(error);
  const quoted = textOf(error);
  const fail = (ours: ErrorCode, message: string, hint?: string) =>
    new AppError(ours, message, { cause: error, details: hint ? { hint } : {} });
  // Node's own words, where a driver dials and secures by itself.
  if (code === 'ECONNRESET' && /before secure TLS connection/.test(quoted)) return new HandshakeCutOff(error);
  if (untrusted.has(code))
    return fail(
      'certificate_untrusted',
      `The target's certificate is not trusted (${quoted})`,
      'Name a truststore or certificate that holds its authority.',
    );
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return fail('certificate_expired', `The target's certificate is not valid now (${quoted})`);
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return fail(
      'certificate_wrong_host',
      `The target's certificate is not for ${host ? `'${host}'` : 'this host'} (${quoted})`,
      'Use the host name that the certificate is for.',
    );
  if (notTls.has(code))
    return fail(
      'tls_not_offered',
      'The target does not speak TLS here',
      'Check the port, and whether TLS begins at once or after STARTTLS.',
    );
  if (/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS/.test(code))
    return fail('tls_failed', `No common TLS version (${quoted})`, 'TLS 1.2 is the least that is accepted.');
  const refused = refusedClientCertificate(error);
  if (refused) return refused;
  if (code === unexpectedEnd) return fail('connection_lost', 'The target closed the connection');
  if (code === 'EPROTO' || /^ERR_(SSL|TLS)_/.test(code))
    return fail('tls_failed', `TLS failed (${quoted})`, 'The target may demand a client certificate.');
  return undefined;
}

function causesOf(error: unknown): Error[] {
  const found: Error[] = [];
  for (let at = error; at instanceof Error && found.length < maxCauses; at = at.cause) found.push(at);
  return found;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : '';
}
