import { type Kysely, sql } from 'kysely';
import type { Tables } from '../tables.ts';

/** Makes the tables of keystores, certificates and variables, and of what connections refer to. */
export async function keysAndVariables(db: Kysely<Tables>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  const text = dialect === 'postgres' ? 'text collate "C"' : 'text';
  const integer = dialect === 'postgres' ? 'bigint' : 'integer';
  const end = dialect === 'sqlite' ? ' strict' : '';
  const run = (statement: string) => sql.raw(statement).execute(db);
  const table = (name: string, definition: string) =>
    run(
      `create table ${name} (${definition.replaceAll(/\bTEXT\b/g, text).replaceAll(/\bINTEGER\b/g, integer)})${end}`,
    );
  const named = `id TEXT not null primary key,
    project_id TEXT not null references projects (id) on delete cascade,
    name TEXT not null,
    description TEXT,
    version INTEGER not null,
    created_at INTEGER not null,
    updated_at INTEGER not null`;

  await table(
    'connection_references',
    `connection_id TEXT not null references connections (id) on delete cascade,
    revision INTEGER not null,
    kind TEXT not null,
    name TEXT not null,
    primary key (connection_id, revision, kind, name)`,
  );
  await run('create index connection_references_name on connection_references (kind, name)');

  await table('variables', `${named}, global INTEGER not null, allowed_hosts TEXT not null`);
  await table(
    'variable_values',
    `variable_id TEXT not null references variables (id) on delete cascade,
    environment TEXT not null,
    visible INTEGER not null,
    value TEXT,
    sealed TEXT,
    primary key (variable_id, environment)`,
  );

  await table('keystores', named);
  await table(
    'keystore_files',
    `keystore_id TEXT not null references keystores (id) on delete cascade,
    environment TEXT not null,
    type TEXT not null,
    alias TEXT,
    sealed_file TEXT not null,
    sealed_password TEXT not null,
    contents TEXT not null,
    expires_at INTEGER,
    primary key (keystore_id, environment)`,
  );
  await table(
    'certificates',
    `${named}, alias TEXT, environments TEXT not null, pem TEXT not null, contents TEXT not null, expires_at INTEGER`,
  );
  for (const name of ['variables', 'keystores', 'certificates'])
    await run(`create unique index ${name}_name on ${name} (project_id, name)`);
}
