import { createRequire } from 'node:module';
import type { CompiledQuery } from 'kysely';
import { AppError } from '../../errors.ts';
import type * as QueryBuilder from './query-builder.ts';

const require = createRequire(import.meta.url);

/**
 * As `queryBuilder`, but loads Kysely at the first call: it takes longer to load than all the rest of
 * the store, and a start that neither migrates nor builds a query goes without.
 */
export const queryBuilder: typeof QueryBuilder.queryBuilder = (dialect, execute) =>
  (require('./query-builder.ts') as typeof QueryBuilder).queryBuilder(dialect, execute);

/** Refuses what would change rows outside of `write`, where nothing groups or guards it. */
export function demandReading(query: CompiledQuery): void {
  const { kind } = query.query;
  if (kind !== 'SelectQueryNode' && kind !== 'RawNode')
    throw new AppError('internal_error', 'Only write() changes rows');
}
