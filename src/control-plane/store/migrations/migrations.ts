import type { Kysely } from 'kysely';
import type { Tables } from '../tables.ts';
import { initial } from './0001-initial.ts';

/** A step of the schema; once released it is never changed. */
export interface Migration {
  readonly number: number;
  readonly name: string;
  up(builder: Kysely<Tables>, dialect: 'sqlite' | 'postgres'): Promise<void>;
}

/** Every migration, in the order of their numbers. */
export const migrations: readonly Migration[] = [{ number: 1, name: 'initial', up: initial }];
