import { email } from './email/email.definition.ts';

/** Every connection type there is. */
export const definitions = {
  email,
} as const;

export type ConnectionTypeId = keyof typeof definitions;
