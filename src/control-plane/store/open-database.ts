import type { Database } from './database.ts';

/**
 * Opens the embedded database of a directory, or the PostgreSQL of a URL, and brings it to this
 * program's schema. Throws `unavailable` when it cannot be used.
 */
export async function openDatabase(options: { dataDirectory: string } | { url: string }): Promise<Database> {
  if ('dataDirectory' in options) {
    const { openSqliteDatabase } = await import('./sqlite-database.ts');
    return openSqliteDatabase(options.dataDirectory);
  }
  const { openPostgresDatabase } = await import('./postgres-database.ts');
  return openPostgresDatabase(options.url);
}
