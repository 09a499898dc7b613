import { AppError, type ErrorCode } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';

/** Error codes of the protocol that the connector acts on. */
export const brokerErrors = {
  offsetOutOfRange: 1,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  notLeaderOrFollower: 6,
  messageTooLarge: 10,
  recordListTooLarge: 18,
  topicAuthorizationFailed: 29,
  clusterAuthorizationFailed: 31,
  unsupportedSaslMechanism: 33,
  illegalSaslState: 34,
  outOfOrderSequenceNumber: 45,
  duplicateSequenceNumber: 46,
  invalidProducerEpoch: 47,
  invalidProducerIdMapping: 49,
  unknownProducerId: 59,
  fencedLeaderEpoch: 74,
  unknownLeaderEpoch: 75,
} as const;

const texts: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  1: ['request_rejected', 'the offset is out of range'],
  2: ['request_rejected', 'the message is corrupt or has no key where the topic is compacted'],
  3: ['request_rejected', 'the topic or partition does not exist'],
  5: ['target_busy', 'the partition has no leader at present'],
  6: ['target_busy', 'the broker is not the leader of the partition any more'],
  7: ['target_timeout', 'the brokers did not replicate the messages in time'],
  8: ['target_busy', 'the broker is not available'],
  9: ['target_busy', 'a replica is not available'],
  10: ['message_too_large', 'the message is larger than the topic accepts (max.message.bytes)'],
  13: ['connection_lost', 'the broker lost its connection to another one'],
  14: ['target_busy', 'the coordinator is still loading'],
  15: ['target_busy', 'the coordinator is not available'],
  16: ['target_busy', 'the broker is not the coordinator any more'],
  17: ['request_rejected', 'the topic is not valid'],
  18: ['message_too_large', 'the batch is larger than the segments of the topic'],
  19: ['target_busy', 'fewer replicas are in sync than min.insync.replicas asks for'],
  20: ['target_busy', 'fewer replicas were in sync than min.insync.replicas asks for'],
  29: ['permission_denied', 'the account may not do this with the topic'],
  30: ['permission_denied', 'the account may not use the group'],
  31: ['permission_denied', 'the account may not do this in the cluster'],
  32: ['request_rejected', 'the timestamp is outside of what the topic accepts'],
  33: ['authentication_failed', 'the broker does not enable the SASL mechanism'],
  34: ['protocol_error', 'this listener of the broker knows no SASL'],
  35: ['protocol_error', 'the broker does not know this version of the request'],
  42: ['request_rejected', 'the broker takes the request for invalid'],
  43: ['request_rejected', 'the message format of the topic is too old'],
  44: ['request_rejected', 'a policy of the cluster forbids it'],
  56: ['target_busy', 'the disk of the broker failed'],
  58: ['authentication_failed', 'the broker refused the credentials'],
  65: ['permission_denied', 'the account may not use delegation tokens'],
  74: ['target_busy', 'the leader of the partition has changed'],
  75: ['target_busy', 'the leader of the partition has changed'],
  76: ['request_rejected', 'the broker does not support the compression'],
  87: ['request_rejected', 'the broker takes the message for invalid'],
  89: ['quota_exceeded', 'a quota of the cluster is used up'],
};

/** Error codes after which the same request may succeed. */
const passing = new Set([2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 56, 74, 75]);

/** An error that a broker answered with. */
export class BrokerError extends Error {
  /** Code of the protocol's error table. */
  readonly code: number;
  readonly retryable: boolean;

  constructor(code: number, said?: string | null) {
    super(`${texts[code]?.[1] ?? `the broker answered with error ${code}`}${said ? `: ${said}` : ''}`);
    this.name = 'BrokerError';
    this.code = code;
    this.retryable = passing.has(code);
  }
}

/** Any error of the connector, its sockets or the protocol library as one of ours. */
export function classifyKafkaError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof BrokerError)
    return new AppError(texts[error.code]?.[0] ?? 'request_rejected', error.message, { cause: error });
  // With TLS 1.3 a broker's alerts may come after the handshake.
  const tls = classifyTlsError(error);
  if (tls) return tls;
  const socket = classifySocketError(error);
  if (socket) return socket;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code === 'string') {
    if (code === 'PLT_KFK_AUTHENTICATION')
      return new AppError('authentication_failed', `The log-in failed: ${message}`, { cause: error });
    if (code.startsWith('PLT_KFK_'))
      return new AppError('protocol_error', `The broker's answer cannot be read: ${message}`, {
        cause: error,
      });
  }
  return new AppError('internal_error', undefined, { cause: error });
}

/** Whether the same request may succeed at another time or another broker. */
export function mayPass(error: unknown): boolean {
  if (error instanceof BrokerError) return error.retryable;
  const { code, retryable } = classifyKafkaError(error);
  return retryable && code !== 'cancelled';
}

/** Whether the partition has moved or the topic is not known yet: metadata must be read again. */
export function isStale(error: unknown): boolean {
  return (
    error instanceof AppError ||
    (error instanceof BrokerError && [3, 5, 6, 8, 9, 56, 74, 75].includes(error.code))
  );
}
