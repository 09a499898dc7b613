import type { GetMessage } from 'amqplib';
import type { InputOf, OutputOf } from '../../contract/connection-type.ts';
import type { itemsOf } from '../../contract/one-or-many.ts';
import { AppError } from '../../errors.ts';
import { decodeBase64, describeBytes } from '../messaging/message-body.ts';
import type { rabbitMq } from './rabbitmq.definition.ts';
import type { RabbitMqConfig } from './rabbitmq-settings.ts';

export type PublishInput = InputOf<typeof rabbitMq.operations.publish>;
export type MessageInput = ReturnType<
  typeof itemsOf<Extract<PublishInput, { messages?: undefined }>>
>[number];
export type GotMessage = OutputOf<typeof rabbitMq.operations.get>['messages'][number];

/** A message ready for basic.publish. */
export interface OutgoingMessage {
  readonly method: { exchange: string; routingKey: string; mandatory: boolean; immediate: false };
  readonly properties: Record<string, unknown>;
  readonly content: Buffer;
}

const maxShortStringBytes = 255;
/** A UTF-16 unit takes three bytes in UTF-8 at most. */
const surelyShort = Math.floor(maxShortStringBytes / 3);

/** The message with the connection's defaults; fails with `request_rejected` on what AMQP cannot carry. */
export function composeMessage(input: MessageInput, config: RabbitMqConfig): OutgoingMessage {
  const content =
    input.bodyEncoding === 'base64' ? decodeBase64(input.body) : Buffer.from(input.body, 'utf8');
  const method = {
    exchange: input.exchange ?? config.channelExchange,
    routingKey: input.routingKey ?? config.channelRoutingKey ?? '',
    mandatory: input.mandatory ?? true,
    immediate: false,
  } as const;
  const properties = {
    contentType: input.contentType ?? config.basicPropertiesContentType,
    contentEncoding: input.contentEncoding ?? config.basicPropertiesContentEncoding,
    headers: input.headers ?? {},
    deliveryMode: input.deliveryMode ?? config.basicPropertiesDeliveryMode ?? 1,
    priority: input.priority ?? config.basicPropertiesPriority,
    correlationId: input.correlationId,
    replyTo: input.replyTo ?? config.basicPropertiesReplyTo,
    expiration:
      input.expirationMs === undefined ? config.basicPropertiesExpiration : String(input.expirationMs),
    messageId: input.messageId,
    timestamp: Math.floor(Date.now() / 1000),
    type: input.type ?? config.basicPropertiesType,
    userId: config.basicPropertiesUserId,
    appId: config.basicPropertiesAppId,
    clusterId: config.basicPropertiesClusterId,
  };
  checkShortStrings(method);
  checkShortStrings(properties);
  return { method, properties, content };
}

function checkShortStrings(fields: Record<string, unknown>): void {
  for (const name in fields) {
    const value = fields[name];
    if (typeof value !== 'string' || value.length <= surelyShort) continue;
    if (Buffer.byteLength(value) > maxShortStringBytes)
      throw new AppError('request_rejected', `${name} is longer than ${maxShortStringBytes} bytes in UTF-8`);
  }
}

/** A message that was taken, as `get` answers it. */
export function describeMessage({ content, fields, properties }: GetMessage): GotMessage {
  const { headers, ...others } = properties as unknown as Record<string, unknown>;
  return {
    ...describeBytes(content),
    exchange: fields.exchange,
    routingKey: fields.routingKey,
    redelivered: fields.redelivered,
    headers: plain(headers ?? {}) as Record<string, unknown>,
    properties: Object.fromEntries(
      Object.entries(others)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => [name, plain(value)]),
    ),
  };
}

/** A value of a field table as JSON has it: bytes in base64, what amqplib tags by its value. */
function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  if ('!' in value && 'value' in value) return plain(value.value);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}
