import type { InputOf } from '../../contract/connection-type.ts';
import type { itemsOf } from '../../contract/one-or-many.ts';
import { decodeBase64 } from '../messaging/message-body.ts';
import type { activeMq } from './activemq.definition.ts';
import type { OutgoingMessage } from './broker-session.ts';

export type SendInput = InputOf<typeof activeMq.operations.send>;
export type MessageInput = ReturnType<typeof itemsOf<Extract<SendInput, { messages?: undefined }>>>[number];

const defaultPriority = 4;

/** The message with the defaults of JMS; fails with `request_rejected` when the body is not base64. */
export function readMessage(input: MessageInput): OutgoingMessage {
  return {
    body:
      input.bodyEncoding === 'base64'
        ? { kind: 'bytes', bytes: decodeBase64(input.body) }
        : { kind: 'text', text: input.body },
    properties: input.properties ?? {},
    correlationId: input.correlationId,
    replyTo: input.replyTo,
    type: input.type,
    priority: input.priority ?? defaultPriority,
    timeToLiveMs: input.timeToLiveMs ?? 0,
    persistent: input.persistent ?? true,
  };
}
