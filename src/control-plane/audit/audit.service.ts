import { randomBytes } from 'node:crypto';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import type { Principal } from '../auth/permissions.ts';
import { projectNotFound } from '../server/access-hook.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Transaction, Value } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

export interface AuditEntry {
  /** `user:NAME`, `token:NAME`, `worker:NAME` or `system`. */
  actor: string;
  /** Name of the project; null for what belongs to none. */
  project: string | null;
  /** `THING.verb`, such as `connection.reveal`. */
  action: string;
  target: string;
  /** Free of secrets. */
  details?: Record<string, unknown>;
  requestId?: string | undefined;
}

const into = 'insert into audit (id, at, project, actor, action, target, details, request_id)';
const insertion = `${into} values ($1, $2, $3, $4, $5, $6, $7, $8)`;

/** Writes an audit row in the transaction of the change that it tells of. */
export async function recordAudit(tx: Transaction, entry: AuditEntry): Promise<void> {
  await tx.run(insertion, rowOf(entry, Date.now()));
}

function rowOf(entry: AuditEntry, now: number): Value[] {
  const { id, at } = nextId(now);
  return [
    id,
    at,
    entry.project,
    entry.actor,
    entry.action,
    entry.target,
    entry.details ? JSON.stringify(entry.details) : '{}',
    entry.requestId ?? null,
  ];
}

/** Turns of the event loop without another read after which a batch is not waited for any longer; some 50 µs. */
const IDLE_TURNS = 10;

interface Batch {
  readonly entries: AuditEntry[];
  readonly preparations: (() => void)[];
  readonly written: Promise<void>;
}

/**
 * Audits what changes nothing by itself; resolves when the row is durable. What prepares the answer
 * may be given along, to be tried while the disk works, at which nobody is told whether it failed.
 * Reads that come together are one job of the database, and share one wait for the disk; if it fails,
 * all of them do. A batch waits for half of the reads that are under way, while they keep coming: the
 * other half waits for the disk meanwhile, and the first of many clients to ask again has no commit of
 * its own.
 */
export function createReadAudit(db: Database): (entry: AuditEntry, prepare?: () => void) => Promise<void> {
  let open: Batch | undefined;
  /** Reads that are not answered yet. */
  let underWay = 0;

  const gathered = (entries: readonly AuditEntry[]) =>
    new Promise<void>((resolve) => {
      let idleTurns = 0;
      let seen = 0;
      const look = () => {
        idleTurns = entries.length > seen ? 0 : idleTurns + 1;
        seen = entries.length;
        if (seen * 2 >= underWay || idleTurns === IDLE_TURNS) resolve();
        else setImmediate(look);
      };
      setImmediate(look);
    });

  const write = async (entries: readonly AuditEntry[], preparations: readonly (() => void)[]) => {
    await gathered(entries);
    const prepare = () => {
      for (const one of preparations)
        try {
          one();
        } catch {
          // Whoever waits for it does it again, and answers what is wrong.
        }
    };
    try {
      await db.write(
        async (tx) => {
          open = undefined;
          const now = Date.now();
          await tx.insertRows(
            into,
            entries.map((one) => rowOf(one, now)),
          );
        },
        // Once the disk has been asked, which is next.
        { onCommit: () => queueMicrotask(prepare) },
      );
    } finally {
      underWay -= entries.length;
    }
  };

  return (entry, prepare) => {
    if (!open) {
      const entries: AuditEntry[] = [];
      const preparations: (() => void)[] = [];
      const batch = { entries, preparations, written: write(entries, preparations) };
      open = batch;
      // A job that could not even begin has not closed its batch.
      batch.written.catch(() => {
        if (open === batch) open = undefined;
      });
    }
    open.entries.push(entry);
    if (prepare) open.preparations.push(prepare);
    underWay += 1;
    return open.written;
  };
}

const ID_RANDOM_BYTES = 6;
const RANDOM_POOL_BYTES = ID_RANDOM_BYTES * 512;
const COUNTER_LIMIT = 0x10_0000;
let pool = Buffer.alloc(0);
let poolAt = 0;
let lastTime = 0;
let timePart = idFrom(lastTime);
let counter = 0;

/** Sorts by time and, within a process, by order of making: time, counter, then 48 random bits. */
function nextId(now: number): { id: string; at: number } {
  if (now > lastTime) moveTo(now);
  else if (++counter === COUNTER_LIMIT) moveTo(lastTime + 1);
  if (poolAt === pool.length) {
    pool = randomBytes(RANDOM_POOL_BYTES);
    poolAt = 0;
  }
  const random = pool.toString('hex', poolAt, poolAt + ID_RANDOM_BYTES);
  poolAt += ID_RANDOM_BYTES;
  return { id: timePart + counter.toString(16).padStart(5, '0') + random, at: lastTime };
}

function moveTo(time: number): void {
  lastTime = time;
  timePart = idFrom(time);
  counter = 0;
}

/** What the ids of that time begin with: ids are in order of time, so no index on the time is needed. */
function idFrom(time: number): string {
  return Math.min(Math.max(time, 0), 0xffff_ffff_ffff).toString(16).padStart(12, '0');
}

/** Deletes entries older than so many days; answers how many. */
export function purgeAudit(db: Database, days: number, now: number = Date.now()): Promise<number> {
  return db.write((tx) => tx.run('delete from audit where id < $1', [idFrom(now - days * DAY_MS)]));
}

export interface AuditQuery {
  project?: string;
  actor?: string;
  action?: string;
  target?: string;
  /** ms since the epoch, inclusive. */
  from?: number;
  /** ms since the epoch, exclusive. */
  to?: number;
  page: number;
  size: number;
}

export interface AuditRecord {
  id: string;
  at: string;
  project: string | null;
  actor: string;
  action: string;
  target: string;
  details: Record<string, unknown>;
  requestId: string | null;
}

export interface Audit {
  /** Newest first; entries of projects without AUDIT:VIEW stay unseen, those of no project need ADMIN. */
  list(principal: Principal, query: AuditQuery): Promise<{ records: AuditRecord[]; count: number }>;
}

/** Reads the audit log for whoever may see it. */
export function createAudit(
  db: Database,
  services: {
    access: Access;
    projects: { find(name: string): ProjectRow | undefined; list(): readonly ProjectRow[] };
  },
): Audit {
  const { access, projects } = services;

  // A deleted project's entries stay readable for those who may read every project's; none is named `*`.
  const mayReadAll = (principal: Principal) => access.allows(principal, 'AUDIT:VIEW', { project: '*' });

  const visible = (principal: Principal, query: AuditQuery): { sql: string; values: Value[] } => {
    if (query.project !== undefined) {
      const known = projects.find(query.project) !== undefined || mayReadAll(principal);
      if (!known || !access.seesProject(principal, query.project)) throw projectNotFound(query.project);
      access.require(principal, 'AUDIT:VIEW', { project: query.project });
      return { sql: 'project = $1', values: [query.project] };
    }
    if (access.allows(principal, 'ADMIN', {})) return { sql: '1 = 1', values: [] };
    if (mayReadAll(principal)) return { sql: 'project is not null', values: [] };
    const names = projects
      .list()
      .map(({ name }) => name)
      .filter((name) => access.allows(principal, 'AUDIT:VIEW', { project: name }));
    if (names.length === 0) throw new AppError('forbidden', 'The token lacks the permission AUDIT:VIEW');
    return { sql: `project in (${names.map((_, index) => `$${index + 1}`).join(', ')})`, values: names };
  };

  return {
    async list(principal, query) {
      const { sql, values } = visible(principal, query);
      const conditions = [sql];
      const where = (condition: string, value: Value | undefined) => {
        if (value === undefined) return;
        values.push(value);
        conditions.push(`${condition} $${values.length}`);
      };
      where('actor =', query.actor);
      where('action =', query.action);
      where('target =', query.target);
      where('id >=', query.from === undefined ? undefined : idFrom(query.from));
      where('id <', query.to === undefined ? undefined : idFrom(query.to));
      const filter = conditions.join(' and ');
      const total = await db.get<{ count: number | string }>(
        `select count(*) as count from audit where ${filter}`,
        values,
      );
      const rows = await db.all<Tables['audit']>(
        `select * from audit where ${filter} order by id desc limit $${values.length + 1} offset $${values.length + 2}`,
        [...values, query.size, (query.page - 1) * query.size],
      );
      return { records: rows.map(recordOf), count: Number(total?.count ?? 0) };
    },
  };
}

function recordOf(row: Tables['audit']): AuditRecord {
  return {
    id: row.id,
    at: new Date(Number(row.at)).toISOString(),
    project: row.project,
    actor: row.actor,
    action: row.action,
    target: row.target,
    details: JSON.parse(row.details) as Record<string, unknown>,
    requestId: row.request_id,
  };
}
