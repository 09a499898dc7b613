import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Redeployment, ReferrerCaller, Referrers, Target } from '../connections/referrers.ts';
import { type Database, isUniqueViolation, type Queries, type Transaction } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';
import type { ProjectRow } from './route-access.ts';

/** What a change did to an object's own rows. */
interface Written {
  /** What connections take from it is another now. */
  isMoved: boolean;
  /** For the audit row, free of secrets. */
  details: Record<string, unknown>;
}

/**
 * How variables, keystores and certificates are found and written alike: each change with its audit
 * row, and with the connections that refer to the object, in one transaction.
 */
export function createNamedWrites<Kind extends Target['kind']>(
  kind: Kind,
  { db, referrers }: { db: Database; referrers: Referrers },
) {
  type Row = Tables[`${Kind}s`];
  const table = `${kind}s` as const;
  const title = `${kind[0]!.toUpperCase()}${kind.slice(1)}`;

  /** All of a project, by name. */
  const rows = (project: ProjectRow): Promise<Row[]> =>
    db.all<Row>(`select * from ${table} where project_id = $1 order by name`, [project.id]);

  /** Throws not_found. */
  async function find(queries: Pick<Queries, 'get'>, project: ProjectRow, name: string): Promise<Row> {
    const row = await queries.get<Row>(`select * from ${table} where project_id = $1 and name = $2`, [
      project.id,
      name,
    ]);
    if (!row) throw new AppError('not_found', `${title} (name: ${name}) was not found!`);
    return row;
  }

  /** Until the transaction ends it stays as it is, and no connection comes to it. */
  async function hold(tx: Transaction, project: ProjectRow, name: string): Promise<void> {
    await tx.run(`update ${table} set version = version where project_id = $1 and name = $2`, [
      project.id,
      name,
    ]);
  }

  async function audit(
    tx: Transaction,
    caller: ReferrerCaller,
    project: ProjectRow,
    action: 'create' | 'update' | 'delete',
    target: string,
    details: Record<string, unknown>,
  ): Promise<void> {
    await recordAudit(tx, {
      actor: caller.actor,
      requestId: caller.requestId,
      project: project.name,
      action: `${kind}.${action}`,
      target,
      details,
    });
  }

  /** Runs the change; throws bad_request when the name is taken. */
  async function writeNamed<T>(name: string, job: (tx: Transaction) => Promise<T>): Promise<T> {
    try {
      return await db.write(job);
    } catch (error) {
      if (!isUniqueViolation(error, `${table}_name`)) throw error;
      throw new AppError('bad_request', `${title} (name: ${name}) already exists!`, {
        details: { validationErrors: [{ field: 'name', message: 'already exists in this project' }] },
      });
    }
  }

  /** Inserts it by `insert`; connections that named it before it was there take it up. */
  function create(
    caller: ReferrerCaller,
    project: ProjectRow,
    name: string,
    details: Record<string, unknown>,
    insert: (tx: Transaction) => Promise<void>,
  ): Promise<Redeployment> {
    return writeNamed(name, async (tx) => {
      const target = { kind, name };
      const referring = await referrers.find(tx, project.id, target);
      await referrers.demandMove(tx, caller, project, referring, target);
      await insert(tx);
      await audit(tx, caller, project, 'create', name, {
        ...details,
        connections: referring.map((row) => row.name),
      });
      return referrers.redeploy(tx, project, referring);
    });
  }

  /**
   * Replaces it by `write`, which has to write the object's row, or to hold it, first; connections
   * follow. Where `write` answers undefined nothing happens, and undefined is the answer.
   */
  function update<Result extends Written | undefined>(
    caller: ReferrerCaller,
    project: ProjectRow,
    { name, newName }: { name: string; newName: string },
    write: (tx: Transaction) => Promise<Result>,
  ): Promise<Redeployment | Extract<Result, undefined>> {
    return writeNamed(newName, async (tx) => {
      const written = await write(tx);
      if (written === undefined) return written as Extract<Result, undefined>;
      const target = { kind, name };
      let referring = written.isMoved ? await referrers.find(tx, project.id, target) : [];
      await referrers.demandMove(tx, caller, project, referring, target);
      if (newName !== name) {
        const renamed = await referrers.rename(tx, caller, project, target, newName);
        referring = [...renamed, ...referring.filter(({ id }) => !renamed.some((one) => one.id === id))];
      }
      await audit(tx, caller, project, 'update', newName, {
        ...written.details,
        connections: referring.map((row) => row.name),
        ...(newName === name ? {} : { renamedFrom: name }),
      });
      return referrers.redeploy(tx, project, referring);
    });
  }

  /** Deletes it, after `check` has found that the caller may; throws conflict while connections refer to it. */
  async function remove(
    caller: ReferrerCaller,
    project: ProjectRow,
    name: string,
    check: (tx: Transaction) => Promise<void>,
  ): Promise<void> {
    await db.write(async (tx) => {
      await hold(tx, project, name);
      await check(tx);
      await referrers.demandNone(tx, project.id, { kind, name });
      await tx.run(`delete from ${table} where project_id = $1 and name = $2`, [project.id, name]);
      await audit(tx, caller, project, 'delete', name, {});
    });
  }

  return { rows, find, hold, create, update, remove };
}
