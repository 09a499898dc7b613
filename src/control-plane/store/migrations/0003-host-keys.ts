import { type Kysely, sql } from 'kysely';
import type { Tables } from '../tables.ts';

/** Makes the table of pinned SSH host keys. */
export async function hostKeys(db: Kysely<Tables>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  const text = dialect === 'postgres' ? 'text collate "C"' : 'text';
  const integer = dialect === 'postgres' ? 'bigint' : 'integer';
  const end = dialect === 'sqlite' ? ' strict, without rowid' : '';
  const statement = `create table host_keys (
    connection_id TEXT not null references connections (id) on delete cascade,
    environment_id TEXT not null references environments (id) on delete cascade,
    server TEXT not null,
    algorithm TEXT not null,
    fingerprint TEXT not null,
    pinned_at INTEGER not null,
    pinned_by TEXT not null,
    refused_algorithm TEXT,
    refused_fingerprint TEXT,
    refused_at INTEGER,
    primary key (connection_id, environment_id, server)
  )`;
  await sql
    .raw(statement.replaceAll(/\bTEXT\b/g, text).replaceAll(/\bINTEGER\b/g, integer) + end)
    .execute(db);
}
