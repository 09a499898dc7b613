import type { Socket } from 'node:net';
import { AppError } from '../../errors.ts';
import { abortError } from '../connector.ts';

const oid = Buffer.from('1.3.6.1.4.1.1466.20037');
/** ExtendedRequest with message id 1 (RFC 4511 4.12, 4.14.1). */
const request = Buffer.concat([
  Buffer.from([0x30, 7 + oid.length, 0x02, 0x01, 0x01, 0x77, 2 + oid.length, 0x80, oid.length]),
  oid,
]);

/**
 * Asks for TLS on a fresh connection. The socket is paused afterwards, for the handshake to read. Fails
 * with `tls_not_offered` when the server refuses, and with `protocol_error` on bytes behind the answer:
 * they could be meant to be taken for what TLS protects.
 */
export function startTls(socket: Socket, limits: { timeoutMs: number; signal: AbortSignal }): Promise<void> {
  const { timeoutMs, signal } = limits;
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const finish = (error?: unknown) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.off('data', onData).off('error', finish).off('close', onEnd).off('end', onEnd).pause();
      if (error === undefined) return resolve();
      socket.on('error', () => {}).destroy();
      reject(error);
    };
    const onAbort = () => finish(abortError(signal.reason));
    const onEnd = () => finish(new AppError('connection_lost', 'The server closed the connection'));
    const onData = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      try {
        const resultCode = readAnswer(received);
        if (resultCode === 0) finish();
        else if (resultCode !== undefined)
          finish(
            new AppError('tls_not_offered', `The server refused StartTLS (result code ${resultCode})`, {
              details: {
                hint: 'Use an ldaps:// address with useSsl; without TLS everybody on the way can read all.',
              },
            }),
          );
      } catch (error) {
        finish(error);
      }
    };
    const timer = setTimeout(
      () => finish(new AppError('target_timeout', `The server was silent for ${timeoutMs} ms`)),
      timeoutMs,
    );
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('data', onData).on('error', finish).on('close', onEnd).on('end', onEnd);
    socket.write(request);
  });
}

/** The result code of an ExtendedResponse; undefined until it is whole. */
export function readAnswer(bytes: Buffer): number | undefined {
  const message = element(bytes, 0, 0x30);
  if (!message) return undefined;
  if (message.end !== bytes.length) throw notLdap();
  const id = element(bytes, message.start, 0x02);
  const response = id && element(bytes, id.end, 0x78);
  const code = response && element(bytes, response.start, 0x0a);
  if (!code || code.end - code.start !== 1) throw notLdap();
  return bytes[code.start];
}

function element(bytes: Buffer, at: number, tag: number): { start: number; end: number } | undefined {
  if (bytes.length > at && bytes[at] !== tag) throw notLdap();
  if (bytes.length < at + 2) return undefined;
  const first = bytes[at + 1]!;
  const lengthBytes = first < 0x80 ? 0 : first - 0x80;
  if (lengthBytes > 4) throw notLdap();
  if (bytes.length < at + 2 + lengthBytes) return undefined;
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
  if (length > 65536) throw notLdap();
  const start = at + 2 + lengthBytes;
  return bytes.length < start + length ? undefined : { start, end: start + length };
}

export function notLdap(): AppError {
  return new AppError('protocol_error', 'The server does not speak LDAP here', {
    details: { hint: 'Check the port: 389 for ldap://, 636 for ldaps://.' },
  });
}
