import { AppError, type ErrorCode } from '../../errors.ts';
import { socketErrorCode } from '../transport/socket-errors.ts';
import { classifyTlsError, isHandshakeCutOff } from '../transport/tls-errors.ts';
import type { ActiveMqSettings, BrokerTarget } from './activemq-settings.ts';
import {
  OpenWireBrokerError,
  OpenWireConnectionLost,
  OpenWireFrameTooLarge,
  OpenWireLogInCutOff,
} from './openwire/openwire-connection.ts';
import { OpenWireFormatError } from './openwire/openwire-data.ts';

/** Conditions of AMQP 1.0 (2.8.15 and following), by their last part. */
const amqpConditions: Record<string, ErrorCode> = {
  'amqp:unauthorized-access': 'permission_denied',
  'amqp:not-found': 'request_rejected',
  'amqp:resource-limit-exceeded': 'quota_exceeded',
  'amqp:resource-locked': 'target_busy',
  'amqp:resource-deleted': 'request_rejected',
  'amqp:not-allowed': 'request_rejected',
  'amqp:not-implemented': 'request_rejected',
  'amqp:invalid-field': 'request_rejected',
  'amqp:precondition-failed': 'request_rejected',
  'amqp:decode-error': 'protocol_error',
  'amqp:frame-size-too-small': 'message_too_large',
  'amqp:internal-error': 'target_error',
  'amqp:connection:forced': 'connection_lost',
  'amqp:connection:framing-error': 'protocol_error',
  'amqp:connection:redirect': 'request_rejected',
  'amqp:transaction:rollback': 'target_busy',
  'amqp:transaction:timeout': 'target_timeout',
  'amqp:transaction:unknown-id': 'target_error',
  'amqp:link:message-size-exceeded': 'message_too_large',
  'amqp:link:detach-forced': 'connection_lost',
  'amqp:link:transfer-limit-exceeded': 'quota_exceeded',
};

/** What rhea puts on its errors, and AMQP on a refusal. */
interface AmqpFailure {
  name?: string;
  condition?: string;
  description?: string;
  message?: string;
  code?: string;
}

/** An error of the OpenWire or AMQP client, or a socket, as one of ours, quoting the broker. */
export function classifyActiveMqError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const as = (code: ErrorCode, said: string, hint?: string) =>
    new AppError(code, said, { cause: error, details: hint ? { hint } : {} });
  if (error instanceof OpenWireBrokerError) {
    const { code, hint } = codeOfException(error);
    return as(code, `The broker says: ${error.message}`, hint);
  }
  if (error instanceof OpenWireLogInCutOff)
    return as(
      'connection_lost',
      error.message,
      'The broker may have refused the log-in: try again, or look into its log.',
    );
  if (error instanceof OpenWireConnectionLost) return as('connection_lost', error.message);
  if (error instanceof OpenWireFrameTooLarge) return as('message_too_large', error.message);
  if (error instanceof OpenWireFormatError)
    return as('protocol_error', `The target does not speak OpenWire: ${error.message}`);
  if (error instanceof RangeError)
    return as('request_rejected', `The message cannot be encoded: ${error.message}`);

  const secured = classifyTlsError(error);
  if (secured) return secured;
  const { name, condition, description, message = '', code } = (error ?? {}) as AmqpFailure;
  if (condition) {
    const said = description || message || condition;
    if (condition === 'amqp:unauthorized-access' && /auth|sasl|credential|password/i.test(said))
      return as(
        /not authorized|permission|write|read|send|consume/i.test(said)
          ? 'permission_denied'
          : 'authentication_failed',
        `The broker says: ${said}`,
      );
    const named = said === condition ? said : `${said} (${condition})`;
    return as(amqpConditions[condition] ?? 'target_error', `The broker says: ${named}`);
  }
  if (name === 'ProtocolError' || name === 'TypeError' || name === 'TypesError')
    return as('protocol_error', `The target does not speak AMQP 1.0`);
  const socket = socketErrorCode(code);
  return socket ? as(socket, message) : as('target_error', message || undefined!);
}

/** The broker's word that the account may not do this; undefined when it may. Other failures are thrown. */
export async function lackOfRights(work: () => Promise<void>): Promise<AppError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    const failure = classifyActiveMqError(error);
    if (failure.code !== 'permission_denied') throw failure;
    return failure;
  }
}

function codeOfException({ className, message }: OpenWireBrokerError): { code: ErrorCode; hint?: string } {
  const name = className.replace(/^.*[.$]/, '');
  // Classic's words and Artemis'.
  if (/not authorized|does not have permission/i.test(message))
    return {
      code: 'permission_denied',
      hint: 'Grant the account the right to this destination in the broker (read, write; admin to create it).',
    };
  switch (name) {
    case 'JMSSecurityException':
    case 'SecurityException':
    case 'FailedLoginException':
    case 'CredentialException':
      return { code: 'authentication_failed', hint: 'Check user name and password.' };
    case 'InvalidClientIDException':
      return { code: 'target_busy', hint: 'Another client is connected under this clientID.' };
    case 'ResourceAllocationException':
      return {
        code: 'quota_exceeded',
        hint: 'The broker has reached a limit of memory, store or connections.',
      };
    case 'MaxFrameSizeExceededException':
      return { code: 'message_too_large' };
    case 'InvalidDestinationException':
      return { code: 'request_rejected', hint: 'Create the destination in the broker, or correct its name.' };
    case 'TransactionRolledBackException':
      return { code: 'target_busy' };
    case 'BrokerStoppedException':
    case 'ServiceStoppedException':
    case 'TransportDisposedIOException':
      return { code: 'connection_lost' };
  }
  if (/log ?in|password|authenticat/i.test(message)) return { code: 'authentication_failed' };
  return { code: /IOException$/.test(name) ? 'target_busy' : 'request_rejected' };
}

/** What a person can do about a failure of this broker. */
export function adviceFor(
  failure: AppError,
  { port, tls }: BrokerTarget,
  { protocol }: ActiveMqSettings,
): string | undefined {
  const { code, details } = failure;
  const ports =
    protocol === 'TCP'
      ? '61616 is usual for OpenWire, 61617 with TLS'
      : '5672 is usual for AMQP, 5671 with TLS';
  const inClear = `without TLS the scheme is ${protocol === 'TCP' ? 'tcp' : 'amqp'}://`;
  if (isHandshakeCutOff(failure)) return `${details.hint} Check the port (${ports}); ${inClear}.`;
  switch (code) {
    case 'connection_refused':
    case 'connect_timeout':
    case 'host_unreachable':
      return `Check host and port (${ports}), and whether a firewall lets the worker through.`;
    case 'tls_failed':
    case 'tls_not_offered':
      return details.hint ?? `Check the port (${ports}); ${inClear}.`;
    case 'protocol_error':
    case 'target_timeout':
    case 'connection_lost':
      if (details.hint) return details.hint;
      if (port === 8161) return `Port 8161 is the web console; ${ports}.`;
      return tls
        ? `Check the port: ${ports}.`
        : `Check the port (${ports}), and use ${protocol === 'TCP' ? 'ssl' : 'amqps'}:// when it speaks TLS.`;
    case 'authentication_failed':
      return details.hint ?? 'Check user name and password; a broker may let nobody in without them.';
  }
  return details.hint;
}
