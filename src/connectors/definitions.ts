import { email } from './email/email.definition.ts';
import { webhook } from './webhook/webhook.definition.ts';

/** Every connection type there is. */
export const definitions = {
  email,
  webhook,
} as const;

export type ConnectionTypeId = keyof typeof definitions;
