import { createHmac, createSecretKey, type KeyObject, randomUUID } from 'node:crypto';
import { AppError } from '../../errors.ts';

const prefix = 'whsec_';

/** Bytes, or a text that stands for its UTF-8. */
export type SigningKey = KeyObject | string;

/** Key of a signing secret: what follows `whsec_` is base64, any other secret is taken as UTF-8 text. */
export function signingKey(secret: string): SigningKey {
  if (!secret.startsWith(prefix)) return secret;
  const encoded = secret.slice(prefix.length);
  const key = Buffer.from(encoded, 'base64');
  if (key.length === 0 || key.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, ''))
    throw new AppError('invalid_configuration', 'signingSecret: what follows whsec_ is not valid base64');
  return createSecretKey(key);
}

/** A message id as Standard Webhooks has it; the receiver drops a message whose id it has seen. */
export function newMessageId(): string {
  return `msg_${randomUUID().replaceAll('-', '')}`;
}

/** The three headers of Standard Webhooks 1.0.0 for one attempt, which is dated in seconds since the epoch. */
export function signatureHeaders(
  key: SigningKey,
  id: string,
  timestampSeconds: number,
  body: Buffer,
): [string, string][] {
  const signature = createHmac('sha256', key)
    .update(`${id}.${timestampSeconds}.`)
    .update(body)
    .digest('base64');
  return [
    ['webhook-id', id],
    ['webhook-timestamp', String(timestampSeconds)],
    ['webhook-signature', `v1,${signature}`],
  ];
}
