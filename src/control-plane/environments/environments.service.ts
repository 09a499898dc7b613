import { randomUUID } from 'node:crypto';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Caller } from '../auth/caller.ts';
import { hashToken, makeToken } from '../auth/token-format.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import { createTurns } from '../server/one-at-a-time.ts';
import type { Database, Queries, Transaction } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';

export const ENVIRONMENT_TYPES = ['PRODUCTION', 'SANDBOX', 'TEST'] as const;
export type EnvironmentType = (typeof ENVIRONMENT_TYPES)[number];

export interface EnvironmentInput {
  name: string;
  description?: string | null;
  type?: EnvironmentType;
}

export type EnvironmentRow = Tables['environments'];
type EnrollmentRow = Tables['enrollment_tokens'];

/** Whose credential a worker has shown. */
export interface WorkerIdentity {
  enrollmentId: string;
  /** Name of the enrolment token. */
  name: string;
  environment: { id: string; name: string };
}

export interface Environments {
  find(name: string): EnvironmentRow | undefined;
  /** Throws not_found. */
  get(name: string): EnvironmentRow;
  list(): readonly EnvironmentRow[];
  /** Makes the environment, of type PRODUCTION, when it is missing. */
  ensure(name: string): Promise<void>;
  /** Throws bad_request for a taken name. */
  create(caller: Caller, input: EnvironmentInput): Promise<void>;
  /** Replaces description and type; an absent one stays. Names are fixed. */
  update(
    caller: Caller,
    name: string,
    input: Omit<EnvironmentInput, 'name'>,
    precondition: Precondition,
  ): Promise<void>;
  /** Throws conflict while a project or a worker's credential refers to it. */
  remove(caller: Caller, name: string, precondition: Precondition): Promise<void>;
  /** Answers the credential, this once. */
  enroll(caller: Caller, environment: string, name: string): Promise<{ id: string; token: string }>;
  enrollments(environment: string): readonly EnrollmentRow[];
  /** Ends a worker's credential; its stream is closed by those who listen. */
  revokeEnrollment(caller: Caller, environment: string, id: string): Promise<void>;
  /** Who holds a worker's credential; undefined for any that is not valid, without a query. */
  authenticateWorker(token: string): WorkerIdentity | undefined;
  /** Calls the listener with the id of each enrolment revoked; answers how to stop. */
  onRevoked(listener: (enrollmentId: string) => void): () => void;
  /** Makes what is held equal to what is stored. */
  read(queries: Pick<Queries, 'all'>): Promise<void>;
}

/** Loads environments and workers' credentials into memory; they are few and asked for on every handshake. */
export async function createEnvironments(db: Database): Promise<Environments> {
  const inTurn = createTurns();
  const byName = new Map<string, EnvironmentRow>();
  const enrollments = new Map<string, EnrollmentRow>();
  const byHash = new Map<string, EnrollmentRow>();
  const listeners = new Set<(enrollmentId: string) => void>();

  const put = (row: EnvironmentRow) => byName.set(row.name, row);
  const putEnrollment = (row: EnrollmentRow) => {
    enrollments.set(row.id, row);
    byHash.set(row.hash, row);
  };

  const forgetEnrollment = ({ id, hash }: EnrollmentRow) => {
    enrollments.delete(id);
    byHash.delete(hash);
    for (const listener of listeners) listener(id);
  };

  const read = async (queries: Pick<Queries, 'all'>) => {
    const rows = await queries.all<EnvironmentRow>('select * from environments');
    const valid = await queries.all<EnrollmentRow>(
      'select * from enrollment_tokens where revoked_at is null',
    );
    byName.clear();
    for (const row of rows) put(row);
    const there = new Set(valid.map(({ id }) => id));
    for (const row of [...enrollments.values()]) if (!there.has(row.id)) forgetEnrollment(row);
    for (const row of valid) putEnrollment(row);
  };
  await read(db);

  const existing = (name: string): EnvironmentRow => {
    const row = byName.get(name);
    if (!row) throw new AppError('not_found', `Environment '${name}' not found`);
    return row;
  };

  const insert = async (caller: Caller, input: EnvironmentInput): Promise<boolean> => {
    const row: EnvironmentRow = {
      id: randomUUID(),
      name: input.name,
      description: input.description ?? null,
      type: input.type ?? 'PRODUCTION',
      created_at: Date.now(),
    };
    const made = await db.write(async (tx) => {
      const count = await tx.run(
        'insert into environments (id, name, description, type, created_at) values ($1, $2, $3, $4, $5) on conflict do nothing',
        [row.id, row.name, row.description, row.type, row.created_at],
      );
      if (count > 0) await audit(tx, caller, 'environment.create', row.name, { type: row.type });
      return count > 0;
    });
    if (made) put(row);
    return made;
  };

  return {
    find: (name) => byName.get(name),
    get: existing,
    list: () => [...byName.values()],

    async ensure(name) {
      if (!byName.has(name)) await insert({ actor: 'system' }, { name });
    },

    async create(caller, input) {
      if (!(await insert(caller, input))) {
        throw new AppError('bad_request', `Environment '${input.name}' already exists!`);
      }
    },

    update: (caller, name, input, precondition) =>
      inTurn(async () => {
        const before = existing(name);
        precondition(contentTag(viewOfEnvironment(before)));
        const after: EnvironmentRow = {
          ...before,
          description: input.description === undefined ? before.description : input.description,
          type: input.type ?? before.type,
        };
        const count = await db.write(async (tx) => {
          const changed = await tx.run('update environments set description = $1, type = $2 where id = $3', [
            after.description,
            after.type,
            after.id,
          ]);
          if (changed > 0) await audit(tx, caller, 'environment.update', name, { type: after.type });
          return changed;
        });
        if (count === 0) throw new AppError('not_found', `Environment '${name}' not found`);
        put(after);
      }),

    remove: (caller, name, precondition) =>
      inTurn(async () => {
        const row = existing(name);
        const { id } = row;
        precondition(contentTag(viewOfEnvironment(row)));
        await db.write(async (tx) => {
          const projects = await tx.all<{ name: string }>(
            'select p.name from projects p join project_environments e on e.project_id = p.id where e.environment_id = $1 order by p.name limit 10',
            [id],
          );
          const credentials = await tx.all<{ name: string }>(
            'select name from enrollment_tokens where environment_id = $1 and revoked_at is null order by name limit 10',
            [id],
          );
          const reasons = [
            ...projects.map((project) => `project '${project.name}'`),
            ...credentials.map((credential) => `enrollment token '${credential.name}'`),
          ];
          if (reasons.length > 0) {
            throw new AppError('conflict', `Environment '${name}' is used by ${reasons.join(', ')}`);
          }
          // Figures have no reference that would take them along.
          await tx.run('delete from health_minutes where environment_id = $1', [id]);
          await tx.run('delete from environments where id = $1', [id]);
          await audit(tx, caller, 'environment.delete', name);
        });
        byName.delete(name);
      }),

    async enroll(caller, environment, name) {
      const { id: environmentId } = existing(environment);
      const token = makeToken('pbw');
      const row: EnrollmentRow = {
        id: randomUUID(),
        environment_id: environmentId,
        name,
        hash: hashToken(token),
        created_at: Date.now(),
        created_by: caller.actor,
        revoked_at: null,
      };
      await db.write(async (tx) => {
        if (!(await tx.get('select id from environments where id = $1', [environmentId]))) {
          throw new AppError('not_found', `Environment '${environment}' not found`);
        }
        await tx.run(
          'insert into enrollment_tokens (id, environment_id, name, hash, created_at, created_by, revoked_at) values ($1, $2, $3, $4, $5, $6, null)',
          [row.id, row.environment_id, row.name, row.hash, row.created_at, row.created_by],
        );
        await audit(tx, caller, 'enrollment.create', row.id, { name, environment });
      });
      putEnrollment(row);
      return { id: row.id, token };
    },

    enrollments(environment) {
      const { id } = existing(environment);
      return [...enrollments.values()].filter((row) => row.environment_id === id);
    },

    async revokeEnrollment(caller, environment, id) {
      const { id: environmentId } = existing(environment);
      const row = enrollments.get(id);
      if (!row || row.environment_id !== environmentId) {
        throw new AppError('not_found', `Enrollment token '${id}' not found`);
      }
      await db.write(async (tx) => {
        const revoked = await tx.run(
          'update enrollment_tokens set revoked_at = $1 where id = $2 and revoked_at is null',
          [Date.now(), id],
        );
        if (revoked > 0) await audit(tx, caller, 'enrollment.revoke', id, { name: row.name, environment });
      });
      forgetEnrollment(row);
    },

    authenticateWorker(token) {
      const row = byHash.get(hashToken(token));
      if (!row) return undefined;
      for (const environment of byName.values()) {
        if (environment.id === row.environment_id) {
          return {
            enrollmentId: row.id,
            name: row.name,
            environment: { id: environment.id, name: environment.name },
          };
        }
      }
      return undefined;
    },

    onRevoked(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    read,
  };
}

/** An environment as Get answers it. */
export function viewOfEnvironment(row: EnvironmentRow) {
  return { name: row.name, description: row.description, type: row.type };
}

function audit(
  tx: Transaction,
  caller: Caller,
  action: string,
  target: string,
  details: Record<string, unknown> = {},
): Promise<void> {
  return recordAudit(tx, { ...caller, project: null, action, target, details });
}
