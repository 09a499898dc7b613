import type { Kysely } from 'kysely';
import type { Tables } from '../tables.ts';

/** A step of the schema; once released it is never changed. */
export interface Migration {
  readonly number: number;
  readonly name: string;
  up(builder: Kysely<Tables>, dialect: 'sqlite' | 'postgres'): Promise<void>;
}

/** Every migration, in the order of their numbers; loaded when it is applied. */
export const migrations: readonly Migration[] = [
  {
    number: 1,
    name: 'initial',
    up: async (builder, dialect) => (await import('./0001-initial.ts')).initial(builder, dialect),
  },
  {
    number: 2,
    name: 'keys-and-variables',
    up: async (builder, dialect) =>
      (await import('./0002-keys-and-variables.ts')).keysAndVariables(builder, dialect),
  },
  {
    number: 3,
    name: 'host-keys',
    up: async (builder, dialect) => (await import('./0003-host-keys.ts')).hostKeys(builder, dialect),
  },
];
