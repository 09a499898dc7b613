import type { OutputOf } from '../../contract/connection-type.ts';
import type { AppError } from '../../errors.ts';
import type { Shareable } from '../messaging/shared-client.ts';
import type { activeMq } from './activemq.definition.ts';

export type ReceivedMessage = OutputOf<typeof activeMq.operations.receive>['messages'][number];

/** A message to be sent, whatever the protocol. */
export interface OutgoingMessage {
  readonly body: { kind: 'text'; text: string } | { kind: 'bytes'; bytes: Buffer };
  readonly properties: Record<string, string | number | boolean | null>;
  readonly correlationId: string | undefined;
  /** Name of a queue. */
  readonly replyTo: string | undefined;
  readonly type: string | undefined;
  /** 0 to 9. */
  readonly priority: number;
  /** Milliseconds; 0: it does not expire. */
  readonly timeToLiveMs: number;
  readonly persistent: boolean;
}

/**
 * Bodies that one call takes at most, about. Artemis reads no more than 20 MB of a queue on its disk without
 * an acknowledgement, and holds text in two bytes a character.
 */
export const maxReceivedBytes = 8 * 1024 * 1024;

export type SendOutcome = { messageId: string } | { error: AppError };

/** A logged-in connection to a broker, by OpenWire or AMQP. */
export interface BrokerSession extends Shareable {
  /** Product or name of the broker, and what was agreed with it. */
  readonly description: string;
  readonly figures: Record<string, number>;
  /** A harmless round trip. */
  prove(signal: AbortSignal): Promise<void>;
  /** Each message for itself, or all of them together; fails only when none was sent. */
  send(messages: readonly OutgoingMessage[], together: boolean, signal: AbortSignal): Promise<SendOutcome[]>;
  /** Takes messages until there are enough (`maxReceivedBytes`, too) or the time is over, and acknowledges them. */
  receive(
    limits: { maxMessages: number; timeoutMs: number },
    signal: AbortSignal,
  ): Promise<ReceivedMessage[]>;
  /** Opens a producer and a consumer that takes nothing; answers why either is refused. */
  rehearse(signal: AbortSignal): Promise<{ send: AppError | undefined; receive: AppError | undefined }>;
}
