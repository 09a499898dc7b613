import type { Message } from 'rhea';
import { describeBytes } from '../messaging/message-body.ts';
import type { ReceivedMessage } from './broker-session.ts';

/** About the bytes of a body, as it is held until it is shown. */
export function bodySize({ body }: Message): number {
  const content: unknown = (body as { content?: unknown } | null | undefined)?.content ?? body;
  if (Array.isArray(content))
    return content.reduce<number>((sum, part) => sum + (Buffer.isBuffer(part) ? part.length : 64), 0);
  return typeof content === 'string' || Buffer.isBuffer(content) ? content.length : 64;
}

/** A message as it is shown. */
export function describeMessage(message: Message): ReceivedMessage {
  const { correlation_id, reply_to, subject, content_type, priority, creation_time, delivery_count } =
    message;
  const createdAt = creation_time == null ? Number.NaN : new Date(creation_time).getTime();
  const text = (value: unknown) => (Buffer.isBuffer(value) ? value.toString('hex') : String(value));
  return {
    messageId: message.message_id === undefined ? '' : text(message.message_id),
    ...describeBody(message.body),
    properties: plain(message.application_properties ?? {}) as Record<string, unknown>,
    ...(correlation_id == null ? {} : { correlationId: text(correlation_id) }),
    ...(reply_to == null ? {} : { replyTo: reply_to }),
    ...(subject == null ? {} : { type: subject }),
    ...(content_type == null ? {} : { contentType: String(content_type) }),
    priority: priority ?? 4,
    ...(Number.isNaN(createdAt) ? {} : { timestamp: new Date(createdAt).toISOString() }),
    redelivered: (delivery_count ?? 0) > 0,
  };
}

function describeBody(body: unknown): { body: string; bodyEncoding: 'utf8' | 'base64' } {
  if (typeof body === 'string') return { body, bodyEncoding: 'utf8' };
  if (body === undefined || body === null) return { body: '', bodyEncoding: 'utf8' };
  if (Buffer.isBuffer(body)) return describeBytes(body);
  const { content } = body as { content?: unknown };
  if (Buffer.isBuffer(content)) return describeBytes(content);
  if (Array.isArray(content) && content.every((part) => Buffer.isBuffer(part)))
    return describeBytes(Buffer.concat(content));
  return { body: JSON.stringify(plain(content ?? body)), bodyEncoding: 'utf8' };
}

/** A value of AMQP as JSON has it: what rhea wraps by type is unwrapped, bytes are in base64. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Date) return value.toISOString();
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  if ('value' in value && 'type' in value) return plain(value.value);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}
