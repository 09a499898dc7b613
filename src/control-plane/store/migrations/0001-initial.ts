import { type Kysely, sql } from 'kysely';
import { uniqueIndexes } from '../database.ts';
import type { Tables } from '../tables.ts';

type Table = keyof Tables;
type Column<T extends Table> = keyof Tables[T] & string;
/** `?` at the end: may be null. */
type Kind = 'text' | 'text?' | 'integer' | 'integer?';
type KindOf<Value> =
  `${[NonNullable<Value>] extends [string] ? 'text' : 'integer'}${null extends Value ? '?' : ''}`;
/** Exactly the columns of `tables.ts`, until a later migration adds one: then Record<string, Kind>. */
type Columns<T extends Table> = { [C in Column<T>]: KindOf<Tables[T][C]> };

interface Reference {
  column: string;
  table: Table;
  onDelete: 'cascade' | 'restrict';
}

const environment: Reference = { column: 'environment_id', table: 'environments', onDelete: 'cascade' };
const connection: Reference = { column: 'connection_id', table: 'connections', onDelete: 'cascade' };

const shortRows: ReadonlySet<Table> = new Set([
  'project_environments',
  'deployments',
  'verdicts',
  'audit',
  'idempotency',
  'health_minutes',
]);

/** Makes the tables of `tables.ts` with their keys and indexes. */
export async function initial(db: Kysely<Tables>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  // The order of text is that of its bytes, as in SQLite; times and sequence numbers outgrow 32 bits.
  const types =
    dialect === 'postgres'
      ? { text: sql`text collate "C"`, integer: sql`bigint` }
      : { text: sql`text`, integer: sql`integer` };

  const table = async <T extends Table>(
    name: T,
    primaryKey: Column<T>[],
    columns: Columns<T>,
    references: Reference[] = [],
  ) => {
    let creation = db.schema.createTable(name);
    for (const [column, kind] of Object.entries<Kind>(columns)) {
      const type = kind.startsWith('text') ? types.text : types.integer;
      creation = creation.addColumn(column, type, (c) => (kind.endsWith('?') ? c : c.notNull()));
    }
    creation = creation.addPrimaryKeyConstraint(`${name}_pkey`, primaryKey as never);
    for (const reference of references)
      creation = creation.addForeignKeyConstraint(
        `${name}_${reference.column}_reference`,
        [reference.column as never],
        reference.table,
        ['id'],
        (c) => c.onDelete(reference.onDelete),
      );
    // Strict, or SQLite would store a text in an integer column. Short rows live in their key's tree
    // alone: a second tree doubles what each of them costs to write.
    const options = shortRows.has(name) ? sql`strict, without rowid` : sql`strict`;
    await (dialect === 'sqlite' ? creation.modifyEnd(options) : creation).execute();
  };
  const index = async <T extends Table>(name: T, ...columns: Column<T>[]) => {
    const creation = db.schema.createIndex(`${name}_${columns.join('_')}`);
    await creation
      .on(name)
      .columns(columns as never)
      .execute();
  };
  const unique = async (name: keyof typeof uniqueIndexes, where = sql``) => {
    const columns = uniqueIndexes[name].split(', ').map((column) => column.split('.') as [Table, string]);
    const names = columns.map(([, column]) => sql.ref(column));
    await sql`create unique index ${sql.ref(name)} on ${sql.table(columns[0]![0])} (${sql.join(names)}) ${where}`.execute(
      db,
    );
  };

  await table('meta', ['key'], { key: 'text', value: 'text' });

  await table('change_counter', ['id'], { id: 'integer', value: 'integer' });
  await db.insertInto('change_counter').values({ id: 1, value: 0 }).execute();

  await table('projects', ['id'], {
    id: 'text',
    name: 'text',
    description: 'text?',
    created_at: 'integer',
  });
  await unique('projects_name');

  await table('environments', ['id'], {
    id: 'text',
    name: 'text',
    description: 'text?',
    type: 'text',
    created_at: 'integer',
  });
  await unique('environments_name');

  await table(
    'project_environments',
    ['project_id', 'environment_id'],
    { project_id: 'text', environment_id: 'text' },
    [
      { column: 'project_id', table: 'projects', onDelete: 'cascade' },
      { ...environment, onDelete: 'restrict' },
    ],
  );
  await index('project_environments', 'environment_id');

  // No reference to the project: a deleted connection outlives it, so that workers learn of it.
  await table('connections', ['id'], {
    id: 'text',
    project_id: 'text',
    name: 'text',
    name_key: 'text',
    type: 'text',
    revision: 'integer',
    seq: 'integer',
    enabled: 'integer',
    deploy_to_worker: 'integer',
    environments: 'text',
    masked: 'text',
    sealed: 'text',
    created_at: 'integer',
    updated_at: 'integer',
    deleted_at: 'integer?',
  });
  await unique('connections_name', sql`where deleted_at is null`);
  await index('connections', 'project_id', 'type', 'name_key');
  await index('connections', 'seq');

  await table(
    'revisions',
    ['connection_id', 'revision'],
    {
      connection_id: 'text',
      revision: 'integer',
      action: 'text',
      name: 'text',
      masked: 'text',
      sealed: 'text',
      author: 'text',
      at: 'integer',
    },
    [connection],
  );

  await table(
    'workers',
    ['id'],
    {
      id: 'text',
      environment_id: 'text',
      name: 'text',
      version: 'text',
      first_seen: 'integer',
      last_seen: 'integer',
      connected: 'integer',
      cursor: 'integer',
    },
    [environment],
  );
  await index('workers', 'environment_id');

  await table(
    'deployments',
    ['connection_id', 'environment_id'],
    {
      connection_id: 'text',
      environment_id: 'text',
      undeployed: 'integer',
      last_good_revision: 'integer?',
      updated_at: 'integer',
    },
    [connection, environment],
  );
  await index('deployments', 'environment_id');

  await table(
    'verdicts',
    ['connection_id', 'worker_id'],
    {
      connection_id: 'text',
      worker_id: 'text',
      environment_id: 'text',
      revision: 'integer',
      step: 'text',
      code: 'text?',
      message: 'text?',
      serving: 'integer?',
      warnings: 'text',
      at: 'integer',
    },
    [connection, environment, { column: 'worker_id', table: 'workers', onDelete: 'cascade' }],
  );

  await table(
    'enrollment_tokens',
    ['id'],
    {
      id: 'text',
      environment_id: 'text',
      name: 'text',
      hash: 'text',
      created_at: 'integer',
      created_by: 'text',
      revoked_at: 'integer?',
    },
    [environment],
  );
  await unique('enrollment_tokens_hash');
  await index('enrollment_tokens', 'environment_id');

  await table('users', ['id'], {
    id: 'text',
    username: 'text',
    username_key: 'text',
    password_hash: 'text',
    admin: 'integer',
    disabled: 'integer',
    grants: 'text',
    created_at: 'integer',
  });
  await unique('users_username');

  await table(
    'tokens',
    ['id'],
    {
      id: 'text',
      name: 'text',
      user_id: 'text?',
      hash: 'text',
      kind: 'text',
      grants: 'text',
      made_by: 'text?',
      created_at: 'integer',
      expires_at: 'integer?',
    },
    [{ column: 'user_id', table: 'users', onDelete: 'cascade' }],
  );
  await unique('tokens_hash');
  await index('tokens', 'user_id');

  await table('audit', ['id'], {
    id: 'text',
    at: 'integer',
    project: 'text?',
    actor: 'text',
    action: 'text',
    target: 'text',
    details: 'text',
    request_id: 'text?',
  });
  await index('audit', 'project', 'id');

  await table('idempotency', ['principal', 'key', 'method', 'path'], {
    principal: 'text',
    key: 'text',
    method: 'text',
    path: 'text',
    body_hash: 'text',
    status: 'integer',
    body: 'text',
    created_at: 'integer',
  });
  await index('idempotency', 'created_at');

  // No references: a batch of figures must not fail for a connection that is gone by now.
  await table('health_minutes', ['connection_id', 'minute', 'worker_id'], {
    connection_id: 'text',
    worker_id: 'text',
    environment_id: 'text',
    minute: 'integer',
    state: 'text',
    since: 'integer',
    error_code: 'text?',
    error_message: 'text?',
    error_at: 'integer?',
    ok: 'integer',
    failed: 'integer',
    total_ms: 'integer',
    max_ms: 'integer',
    figures: 'text',
  });
  await index('health_minutes', 'minute');
}
