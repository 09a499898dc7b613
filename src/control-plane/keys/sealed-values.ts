import { sealedPlace } from '../server/idempotency.ts';
import type { Database, Queries, Transaction, Value } from '../store/database.ts';
import { keyIdOf, type Sealer } from '../store/sealing.ts';
import { placeOfValue } from '../variables/variable-values.ts';
import { placeOfKeystore } from './stored-objects.ts';

/** A row with sealed texts, and how it is written anew. */
export interface SealedRow {
  /** Where the row stands in its source; a page begins behind it. */
  position: readonly Value[];
  texts: string[];
  /** Seals everything with the newest key and answers the update, which changes nothing where the row changed meanwhile. */
  reseal(sealer: Sealer): { sql: string; values: Value[] };
}

interface Source {
  start: readonly Value[];
  pageSize: number;
  page(queries: Pick<Queries, 'all'>, after: readonly Value[], limit: number): Promise<SealedRow[]>;
}

type Sealed = Record<string, string>;

interface BodyRow {
  id: string;
  project_id: string;
  revision: number;
  sealed: string;
}

function resealBody(sealer: Sealer, { id, project_id, sealed }: BodyRow): string {
  const texts = Object.entries(JSON.parse(sealed) as Sealed).map(([field, text]) => {
    const place = { project: project_id, connection: id, field };
    return [field, sealer.seal(sealer.open(text, place), place)];
  });
  return JSON.stringify(Object.fromEntries(texts));
}

/** Everything that is sealed, but for the canary. */
const sources: readonly Source[] = [
  {
    start: [''],
    pageSize: 250,
    async page(queries, after, limit) {
      const rows = await queries.all<BodyRow>(
        "select id, project_id, revision, sealed from connections where id > $1 and sealed <> '{}' order by id limit $2",
        [...after, limit],
      );
      return rows.map((row) => ({
        position: [row.id],
        texts: Object.values(JSON.parse(row.sealed) as Sealed),
        reseal: (sealer) => ({
          sql: 'update connections set sealed = $1 where id = $2 and sealed = $3',
          values: [resealBody(sealer, row), row.id, row.sealed],
        }),
      }));
    },
  },
  {
    start: ['', 0],
    pageSize: 250,
    async page(queries, after, limit) {
      const rows = await queries.all<BodyRow>(
        `select r.connection_id as id, c.project_id, r.revision, r.sealed from revisions r join connections c on c.id = r.connection_id
          where (r.connection_id > $1 or (r.connection_id = $1 and r.revision > $2)) and r.sealed <> '{}'
          order by r.connection_id, r.revision limit $3`,
        [...after, limit],
      );
      return rows.map((row) => ({
        position: [row.id, row.revision],
        texts: Object.values(JSON.parse(row.sealed) as Sealed),
        reseal: (sealer) => ({
          sql: 'update revisions set sealed = $1 where connection_id = $2 and revision = $3 and sealed = $4',
          values: [resealBody(sealer, row), row.id, row.revision, row.sealed],
        }),
      }));
    },
  },
  {
    start: ['', ''],
    pageSize: 10,
    async page(queries, after, limit) {
      const rows = await queries.all<{
        id: string;
        project_id: string;
        environment: string;
        sealed_file: string;
        sealed_password: string;
      }>(
        `select k.id, k.project_id, f.environment, f.sealed_file, f.sealed_password from keystore_files f
          join keystores k on k.id = f.keystore_id
          where k.id > $1 or (k.id = $1 and f.environment > $2) order by k.id, f.environment limit $3`,
        [...after, limit],
      );
      return rows.map((row) => ({
        position: [row.id, row.environment],
        texts: [row.sealed_file, row.sealed_password],
        reseal(sealer) {
          const again = (part: 'file' | 'password', text: string) => {
            const place = placeOfKeystore(row.project_id, row.id, row.environment, part);
            return sealer.seal(sealer.open(text, place), place);
          };
          return {
            sql: `update keystore_files set sealed_file = $1, sealed_password = $2
              where keystore_id = $3 and environment = $4 and sealed_file = $5 and sealed_password = $6`,
            values: [
              again('file', row.sealed_file),
              again('password', row.sealed_password),
              row.id,
              row.environment,
              row.sealed_file,
              row.sealed_password,
            ],
          };
        },
      }));
    },
  },
  {
    start: ['', ''],
    pageSize: 250,
    async page(queries, after, limit) {
      const rows = await queries.all<{
        id: string;
        project_id: string;
        environment: string;
        sealed: string;
      }>(
        `select o.id, o.project_id, v.environment, v.sealed from variable_values v join variables o on o.id = v.variable_id
          where v.sealed is not null and (o.id > $1 or (o.id = $1 and v.environment > $2)) order by o.id, v.environment limit $3`,
        [...after, limit],
      );
      return rows.map((row) => ({
        position: [row.id, row.environment],
        texts: [row.sealed],
        reseal(sealer) {
          const place = placeOfValue(row.project_id, row.id, row.environment);
          return {
            sql: 'update variable_values set sealed = $1 where variable_id = $2 and environment = $3 and sealed = $4',
            values: [sealer.seal(sealer.open(row.sealed, place), place), row.id, row.environment, row.sealed],
          };
        },
      }));
    },
  },
  {
    start: ['', '', '', ''],
    pageSize: 100,
    async page(queries, after, limit) {
      const rows = await queries.all<{
        principal: string;
        key: string;
        method: string;
        path: string;
        body_hash: string;
        body: string;
      }>(
        `select principal, key, method, path, body_hash, body from idempotency
          where (principal, key, method, path) > ($1, $2, $3, $4) order by principal, key, method, path limit $5`,
        [...after, limit],
      );
      return rows.map((row) => ({
        position: [row.principal, row.key, row.method, row.path],
        texts: [row.body_hash, row.body].filter((text) => text !== ''),
        reseal(sealer) {
          const place = sealedPlace(row);
          const again = (text: string) => (text === '' ? '' : sealer.seal(sealer.open(text, place), place));
          return {
            sql: `update idempotency set body_hash = $1, body = $2
              where principal = $3 and key = $4 and method = $5 and path = $6 and body_hash = $7 and body = $8`,
            values: [
              again(row.body_hash),
              again(row.body),
              row.principal,
              row.key,
              row.method,
              row.path,
              row.body_hash,
              row.body,
            ],
          };
        },
      }));
    },
  },
];

/** Goes through everything sealed, a page at a time; other work gets its turn between pages. */
export async function* sealedPages(db: Database): AsyncGenerator<SealedRow[]> {
  for (const { start, pageSize, page } of sources) {
    let after = start;
    for (;;) {
      const rows = await page(db, after, pageSize);
      if (rows.length > 0) yield rows;
      const last = rows.at(-1);
      if (!last || rows.length < pageSize) break;
      after = last.position;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** How many values each key seals, by its id; the canary is one. */
export async function countByKey(db: Database): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const add = (text: string) => counts.set(keyIdOf(text), (counts.get(keyIdOf(text)) ?? 0) + 1);
  const canary = await db.get<{ value: string }>("select value from meta where key = 'canary'");
  if (canary) add(canary.value);
  for await (const rows of sealedPages(db)) for (const { texts } of rows) texts.forEach(add);
  return counts;
}

/** Writes rows anew within one transaction. */
export async function resealRows(tx: Transaction, updates: readonly { sql: string; values: Value[] }[]) {
  for (const { sql, values } of updates) await tx.run(sql, values);
}
