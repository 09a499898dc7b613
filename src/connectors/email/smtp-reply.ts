import type { Socket } from 'node:net';
import { AppError } from '../../errors.ts';
import { abortError } from '../connector.ts';

/** A reply of an SMTP server (RFC 5321 4.2). */
export interface SmtpReply {
  readonly code: number;
  /** Its lines without the code. */
  readonly lines: readonly string[];
  /** As it was received, without the last line end. */
  readonly text: string;
}

const maxReplyBytes = 64 * 1024;

/**
 * Writes a command, if there is one, and reads its reply. The socket is paused afterwards, so that
 * whoever reads it next misses nothing. Fails with `protocol_error` on anything that is not exactly
 * one reply: bytes behind it could be meant to be taken for what TLS protects (RFC 3207 6).
 */
export function exchange(
  socket: Socket,
  command: string | undefined,
  limits: { timeoutMs: number; signal: AbortSignal },
): Promise<SmtpReply> {
  const { timeoutMs, signal } = limits;
  return new Promise((resolve, reject) => {
    let received = '';
    const finish = (error: unknown, reply?: SmtpReply) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.off('data', onData).off('error', onError).off('end', onEnd).off('close', onEnd).pause();
      if (reply) return resolve(reply);
      socket.on('error', ignore).destroy();
      reject(error);
    };
    const onAbort = () => finish(abortError(signal.reason));
    const onError = (error: Error) => finish(error);
    const onEnd = () =>
      finish(
        received === ''
          ? new AppError('connection_lost', 'The server closed the connection without a word')
          : notSmtp(received),
      );
    const onData = (chunk: Buffer) => {
      received += chunk.toString('latin1');
      try {
        const reply = parseReply(received);
        if (reply) finish(undefined, reply);
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
    socket.on('data', onData).on('error', onError).on('end', onEnd).on('close', onEnd);
    if (command !== undefined) socket.write(`${command}\r\n`);
    socket.resume();
  });
}

/** The reply at the whole of `received`, undefined while it is incomplete; throws `protocol_error`. */
export function parseReply(received: string): SmtpReply | undefined {
  if (received.length > maxReplyBytes) throw notSmtp(received);
  const lines = received.split(/\r?\n/);
  const rest = lines.pop()!;
  for (const [at, line] of lines.entries()) {
    const match = /^(\d{3})([ -]|$)/.exec(line);
    if (!match || match[1] !== lines[0]!.slice(0, 3)) throw notSmtp(received);
    if (match[2] === '-') continue;
    // 421 ends the session, whatever stands behind it (RFC 5321 3.8).
    if (match[1] !== '421' && (rest !== '' || at < lines.length - 1))
      throw new AppError('protocol_error', 'The server sent more than one reply to one command');
    return {
      code: Number(match[1]),
      lines: lines.slice(0, at + 1).map((each) => each.slice(4).trim()),
      text: lines.slice(0, at + 1).join('\n'),
    };
  }
  if (!/^(\d{0,3}|\d{3}[ -].*)$/s.test(rest)) throw notSmtp(received);
  return undefined;
}

function notSmtp(received: string): AppError {
  const start = received.slice(0, 60).replace(/[^\x20-\x7e]+/g, '.');
  const hint = /^HTTP\//.test(received)
    ? 'A web server answers at this port: check host and port.'
    : /^[\x15\x16]\x03/.test(received)
      ? 'The port speaks TLS from the first byte: turn on useSsl.'
      : 'Check host and port: 25, 587 (STARTTLS) and 465 (implicit TLS) are usual for SMTP.';
  return new AppError('protocol_error', `The server does not speak SMTP; it said: ${start}`, {
    details: { hint },
  });
}

function ignore() {}
