import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from '../transport/socket-errors.ts';
import { classifyTlsError, isHandshakeCutOff } from '../transport/tls-errors.ts';
import type { RabbitMqSettings } from './rabbitmq-settings.ts';

interface AmqpFailure extends Error {
  code?: string | number;
}

/** Reply codes of AMQP 0-9-1 (1.2 of its reference), as RabbitMQ uses them. */
const replyCodes: Record<number, ErrorCode> = {
  311: 'message_too_large',
  312: 'unroutable',
  313: 'unroutable',
  320: 'connection_lost',
  402: 'request_rejected',
  403: 'permission_denied',
  404: 'request_rejected',
  405: 'target_busy',
  406: 'request_rejected',
  501: 'protocol_error',
  502: 'protocol_error',
  503: 'protocol_error',
  504: 'protocol_error',
  505: 'protocol_error',
  506: 'target_busy',
  530: 'request_rejected',
  540: 'request_rejected',
  541: 'target_busy',
};

/** An error of amqplib or a socket as one of ours, quoting the server. */
export function classifyRabbitMqError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (!(error instanceof Error)) return new AppError('target_error', undefined, { cause: error });
  const { code, message } = error as AmqpFailure;
  const as = (ours: ErrorCode, said: string, hint?: string) =>
    new AppError(ours, said, { cause: error, details: hint ? { hint } : {} });
  const tls = classifyTlsError(error);
  if (tls) return tls;
  const socket = socketErrorCode(code);
  if (socket) return as(socket, message);

  // "404 (NOT-FOUND) with message "NOT_FOUND - no exchange 'x' in vhost '/'""
  const quoted = /(\d{3}) \(([A-Z-]+)\) with message "([\s\S]*)"/.exec(message);
  const replyCode = quoted ? Number(quoted[1]) : typeof code === 'number' ? code : undefined;
  if (replyCode !== undefined) return classifyReply(replyCode, quoted?.[3] ?? message, error);
  if (/message nacked/.test(message))
    return as('quota_exceeded', 'The server did not take the message: a queue is full, or failed');
  if (/Heartbeat timeout/.test(message)) return as('connection_lost', 'The server no longer answers');
  if (
    /closed abruptly|Unexpected close|channel closed|Channel ended|Connection clos|Channel clos/i.test(
      message,
    )
  )
    return as('connection_lost', 'The server closed the connection');
  if (/No channels left/.test(message)) return as('target_busy', 'All channels of the connection are in use');
  if (/SASL mechanism/.test(message))
    return as(
      'authentication_failed',
      'The server does not offer to log in by user name and password (PLAIN)',
    );
  if (/Invalid frame|Frame|Expected|frame|handshake|secure/.test(message))
    return as('protocol_error', 'The target does not speak AMQP 0-9-1');
  if (error instanceof RangeError || error instanceof TypeError)
    return as('request_rejected', `The message cannot be encoded: ${message}`);
  return as('target_error', message);
}

/** What the server said when it closed the connection or a channel. */
export function classifyReply(replyCode: number, text: string, cause?: unknown): AppError {
  const as = (ours: ErrorCode, said: string, hint?: string) =>
    new AppError(ours, said, { cause, details: hint ? { hint } : {} });
  const said = `The server says: ${text}`;
  if (replyCode === 403 && /login was refused|ACCESS_REFUSED - Login/i.test(text))
    return as('authentication_failed', said, 'Check user name and password.');
  // That of a virtual host begins as the lack of a right to it does.
  if (replyCode === 530 && /\blimit\b.* is reached/i.test(text)) return as('target_busy', said);
  if (replyCode === 530 && /access to vhost .* refused|not allowed|user .* is not/i.test(text))
    return as('permission_denied', said, grantHint);
  if (replyCode === 530 && /vhost/i.test(text)) return as('request_rejected', said, vhostHint);
  if (replyCode === 406 && /size .* larger|too large|max size/i.test(text))
    return as('message_too_large', said);
  if (replyCode === 406 && /user_id/i.test(text))
    return as('request_rejected', said, 'basicPropertiesUserId must be the account that logs in.');
  if (replyCode === 404)
    return as(
      'request_rejected',
      said,
      /exchange/.test(text)
        ? 'Create the exchange in this virtual host, or correct its name.'
        : 'Create the queue in this virtual host, or correct its name.',
    );
  if (replyCode === 403) return as('permission_denied', said, grantHint);
  return as(replyCodes[replyCode] ?? 'target_error', said);
}

const grantHint =
  'Grant the account its permissions in this virtual host: rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ.';
const vhostHint =
  'Correct connectionFactoryVirtualHost, or create it: rabbitmqctl add_vhost NAME. The one every server has is /.';

/** What a person can do about a failure of this server. */
export function adviceFor(
  failure: AppError,
  { port, tls }: { port: number; tls?: unknown },
  settings: RabbitMqSettings,
): string | undefined {
  const { code, details } = failure;
  switch (isHandshakeCutOff(failure) ? 'tls_not_offered' : code) {
    case 'connection_refused':
    case 'connect_timeout':
    case 'host_unreachable':
      return port === 15672
        ? 'Port 15672 is the management page; AMQP is on 5672, with TLS on 5671.'
        : 'Check host and port (5672, with TLS 5671), and whether a firewall lets the worker through.';
    case 'tls_not_offered':
    case 'tls_failed':
      return port === 5672
        ? 'Port 5672 is usually AMQP without TLS: use 5671, or turn connectionFactoryUseSslProtocol off.'
        : details.hint;
    case 'protocol_error':
    case 'connection_lost':
    case 'target_timeout':
      if (tls) return details.hint;
      return port === 15672
        ? 'Port 15672 is the management page; AMQP is on 5672, with TLS on 5671.'
        : 'If the port speaks TLS (usually 5671), turn on connectionFactoryUseSslProtocol.';
    case 'authentication_failed':
      return settings.username === 'guest'
        ? 'The account guest may log in from the machine of the server only: turn on authentication with another account.'
        : details.hint;
  }
  return details.hint;
}
