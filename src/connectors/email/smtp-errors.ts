import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from '../transport/socket-errors.ts';
import { classifyTlsError, isHandshakeCutOff } from '../transport/tls-errors.ts';
import type { SmtpReply } from './smtp-reply.ts';
import type { SmtpSettings } from './smtp-settings.ts';

/** What nodemailer and Node put on their errors. */
interface SmtpFailure extends Error {
  code?: string;
  originalCode?: string;
  timeoutType?: string;
  response?: string;
  responseCode?: number;
  command?: string;
}

/** An error of nodemailer or a socket as one of ours, quoting the server. */
export function classifySmtpError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (!(error instanceof Error)) return new AppError('target_error', undefined, { cause: error });
  const failure = error as SmtpFailure;
  const tls = classifyTlsError(
    // nodemailer puts a code of its own over the socket's.
    failure.originalCode
      ? Object.assign(new Error(failure.message), { code: failure.originalCode })
      : failure,
  );
  if (tls) return tls;
  const hint = hintFor(failure);
  return new AppError(codeOf(failure), failure.message, { cause: error, details: hint ? { hint } : {} });
}

function codeOf(failure: SmtpFailure): ErrorCode {
  const { code, originalCode, responseCode } = failure;
  if (failure.name === 'AbortError' || code === 'EABORT') return 'cancelled';
  if (responseCode !== undefined) return codeOfReply(failure, responseCode);
  switch (code) {
    case 'EAUTH':
      return 'authentication_failed';
    case 'ETIMEDOUT':
      // Without a type it is the system's own: no answer to SYN.
      return failure.timeoutType && failure.timeoutType !== 'CONNECT_TIMEOUT'
        ? 'target_timeout'
        : 'connect_timeout';
    case 'ECONNECTION':
      return 'connection_lost';
    case 'ETLS':
      return 'tls_failed';
    case 'EPROTOCOL':
      return 'protocol_error';
    case 'EMESSAGE':
      return /larger than allowed/.test(failure.message) ? 'message_too_large' : 'request_rejected';
    case 'EENVELOPE':
      return 'request_rejected';
  }
  const socket = socketErrorCode(originalCode ?? code);
  if (socket) return socket;
  return code === 'ESOCKET' ? 'connection_lost' : 'target_error';
}

/** RFC 5321 4.2.3, RFC 4954 6 and the enhanced codes of RFC 3463. */
function codeOfReply({ code, response = '' }: SmtpFailure, responseCode: number): ErrorCode {
  const enhanced = /^\d{3}[ -](\d\.\d{1,3}\.\d{1,3})\b/.exec(response)?.[1] ?? '';
  if (namesClientCertificate(response)) return 'authentication_failed';
  if (responseCode === 421) return 'target_busy';
  if (code === 'EAUTH') return responseCode < 500 ? 'target_busy' : 'authentication_failed';
  if ((responseCode === 530 && !/STARTTLS/i.test(response)) || responseCode === 534 || responseCode === 535)
    return 'authentication_failed';
  if (responseCode === 530 || responseCode === 538) return 'permission_denied';
  if (responseCode === 552 || responseCode === 523)
    return enhanced.endsWith('.3.4') || /size|larg|big/i.test(response)
      ? 'message_too_large'
      : 'quota_exceeded';
  if (responseCode === 452) return 'quota_exceeded';
  if (responseCode >= 400 && responseCode < 500) return 'target_busy';
  if (/^5\.2\.2$/.test(enhanced)) return 'quota_exceeded';
  if (/^5\.7\./.test(enhanced) || /relay/i.test(response)) return 'permission_denied';
  return responseCode >= 500 && responseCode < 600 ? 'request_rejected' : 'protocol_error';
}

/** Servers complete the handshake, and then say in a reply that they wanted a certificate. */
function namesClientCertificate(reply: string): boolean {
  return /client certificate/i.test(reply);
}

const certificateHint = 'Name the keystore that holds the client certificate: keyStoreName.';

function hintFor({ code, responseCode, response = '' }: SmtpFailure): string | undefined {
  if (namesClientCertificate(response)) return certificateHint;
  if (/STARTTLS/i.test(response)) return 'The server demands TLS: turn on enableStartTls.';
  if (/gmail|google|gsmtp/i.test(response) && (responseCode === 534 || responseCode === 535))
    return gmailHint;
  if (responseCode === 530 && code !== 'EAUTH') return 'The server demands a log-in: turn on auth.';
  if (/relay/i.test(response))
    return 'The server does not pass mail on for this sender: log in, or use the server of the sender’s domain.';
  if (code === 'EAUTH' && responseCode !== undefined && responseCode >= 500)
    return 'Check user name and password; accounts with two-factor log-in often need an app password.';
  return undefined;
}

const gmailHint =
  'Gmail takes an app password here instead of the regular one: create one in the account’s security settings.';

/** Any error as one of ours, with a hint that knows host and port. */
export function advised(error: unknown, settings: SmtpSettings): AppError {
  const failure = classifySmtpError(error);
  const hint = adviceFor(failure, settings);
  if (!hint || hint === failure.details.hint) return failure;
  return new AppError(failure.code, failure.message, { cause: error, details: { ...failure.details, hint } });
}

/** What a person can do about a failure of this server. */
export function adviceFor(error: AppError, { host, port, transport }: SmtpSettings): string | undefined {
  const gmail = /(^|\.)(gmail|googlemail)\.com\.?$/i.test(host);
  switch (isHandshakeCutOff(error) ? 'tls_failed' : error.code) {
    case 'authentication_failed':
      return gmail ? gmailHint : error.details.hint;
    case 'tls_not_offered':
      if (transport === 'implicit')
        return port === 465
          ? error.details.hint
          : `Port ${port} does not speak TLS from the first byte: use enableStartTls instead of useSsl, or port 465.`;
      return error.details.hint;
    case 'protocol_error':
    case 'tls_failed':
      if (transport === 'implicit' && port !== 465)
        return `Port ${port} may expect STARTTLS: use enableStartTls instead of useSsl, or port 465.`;
      return error.details.hint;
    case 'target_timeout':
      // A server of implicit TLS waits for our first byte, and we wait for its greeting.
      if (transport !== 'implicit' && port !== 25 && port !== 587)
        return 'If the port speaks TLS from the first byte, turn on useSsl.';
      return error.details.hint;
    case 'connect_timeout':
    case 'connection_refused':
    case 'host_unreachable':
      if (port === 25) return 'Many networks block port 25: try 587 with STARTTLS, or 465.';
      return 'Check host and port, and whether a firewall lets the worker through; 587 with STARTTLS is usual.';
  }
  return error.details.hint;
}

/** STARTTLS was demanded and the server does not have it, or refused it with `reply`. */
export function tlsNotOffered({ port }: SmtpSettings, reply: string | undefined): AppError {
  return new AppError(
    'tls_not_offered',
    reply ? `The server refused STARTTLS: ${reply}` : 'The server does not offer STARTTLS',
    {
      details: {
        hint:
          port === 587
            ? 'Use port 465 with implicit TLS; without TLS (port 25, enableStartTls off) everybody on the way can read all.'
            : 'Use port 587, or port 465 with implicit TLS; port 25 is often without TLS.',
      },
    },
  );
}

/** The server greeted with something else than 220. */
export function refusedGreeting({ code, text }: SmtpReply): AppError {
  const message = `The server refused the session: ${text}`;
  if (namesClientCertificate(text))
    return new AppError('authentication_failed', message, { details: { hint: certificateHint } });
  if (code >= 400 && code < 500) return new AppError('target_busy', message);
  if (code >= 500 && code < 600)
    return new AppError('permission_denied', message, {
      details: { hint: 'The server may not accept this address of the worker; ask its operator.' },
    });
  return new AppError('protocol_error', message);
}
