import { randomUUID } from 'node:crypto';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { Access } from '../auth/access.ts';
import type { Caller } from '../auth/caller.ts';
import type { Permission, Principal, Scope } from '../auth/permissions.ts';
import { projectNotFound } from '../server/access-hook.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import { createTurns } from '../server/one-at-a-time.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Queries, Transaction } from '../store/database.ts';

const DEFAULT_ENVIRONMENTS = ['production'];

export interface ProjectInput {
  name: string;
  description?: string | null;
  /** Names; default `production` alone. */
  environments?: string[];
}

/** What the connections feature does within a project's transaction. */
export interface ProjectConnections {
  /** Marks every connection of the project deleted; answers whether any was there. */
  removeAll(tx: Transaction, project: ProjectRow, actor: string): Promise<boolean>;
  /** Gives every connection of the project its place anew after the environments changed. */
  replaceAll(tx: Transaction, project: ProjectRow): Promise<void>;
}

export interface Projects {
  /** Exact match, from memory. */
  find(name: string): ProjectRow | undefined;
  findById(id: string): ProjectRow | undefined;
  list(): readonly ProjectRow[];
  /** Makes the projects that are missing, in environment `production`. */
  ensure(names: readonly string[]): Promise<void>;
  /** Throws bad_request for a taken name or unknown environments, naming them. */
  create(caller: Caller, input: ProjectInput): Promise<void>;
  /** Replaces description and environments; an absent one stays. Names are fixed. */
  update(
    caller: Caller,
    principal: Principal,
    project: ProjectRow,
    input: Omit<ProjectInput, 'name'>,
    precondition: Precondition,
  ): Promise<void>;
  /** Throws conflict while the project has connections, unless forced, which deletes them. */
  remove(caller: Caller, name: string, force: boolean, precondition: Precondition): Promise<void>;
  /** Makes what is held equal to what is stored. */
  read(queries: Pick<Queries, 'all'>): Promise<void>;
}

/** Loads the projects into memory, where every request finds its own. */
export async function createProjects(
  db: Database,
  services: { access: Access; connections: ProjectConnections },
): Promise<Projects> {
  const { access, connections } = services;
  const inTurn = createTurns();
  const byName = new Map<string, ProjectRow>();
  const byId = new Map<string, ProjectRow>();

  const put = (row: ProjectRow) => {
    byName.set(row.name, row);
    byId.set(row.id, row);
  };

  const read = async (queries: Pick<Queries, 'all'>) => {
    const environmentNames = new Map<string, string[]>();
    for (const row of await queries.all<{ project_id: string; name: string }>(
      'select p.project_id, e.name from project_environments p join environments e on e.id = p.environment_id order by e.name',
    )) {
      const names = environmentNames.get(row.project_id);
      if (names) names.push(row.name);
      else environmentNames.set(row.project_id, [row.name]);
    }
    const rows = await queries.all<Pick<ProjectRow, 'id' | 'name' | 'description'>>(
      'select id, name, description from projects',
    );
    byName.clear();
    byId.clear();
    for (const row of rows) put({ ...row, environments: environmentNames.get(row.id) ?? [] });
  };
  await read(db);

  const insert = async (caller: Caller, input: ProjectInput): Promise<boolean> => {
    const row: ProjectRow = {
      id: randomUUID(),
      name: input.name,
      description: input.description ?? null,
      environments: sorted(input.environments ?? DEFAULT_ENVIRONMENTS),
    };
    const made = await db.write(async (tx) => {
      const count = await tx.run(
        'insert into projects (id, name, description, created_at) values ($1, $2, $3, $4) on conflict do nothing',
        [row.id, row.name, row.description, Date.now()],
      );
      if (count === 0) return false;
      await placeInEnvironments(tx, row);
      await audit(tx, caller, row.name, 'project.create', { environments: row.environments });
      return true;
    });
    if (made) put(row);
    return made;
  };

  return {
    read,
    find: (name) => byName.get(name),
    findById: (id) => byId.get(id),
    list: () => [...byName.values()],

    async ensure(names) {
      for (const name of names) {
        if (!byName.has(name)) await insert({ actor: 'system' }, { name });
      }
    },

    async create(caller, input) {
      if (!(await inTurn(() => insert(caller, input)))) {
        throw new AppError('bad_request', `Project '${input.name}' already exists!`);
      }
    },

    update: (caller, principal, project, input, precondition) =>
      inTurn(async () => {
        const before = byId.get(project.id);
        if (!before) throw projectNotFound(project.name);
        const after = await db.write(async (tx) => {
          const next: ProjectRow = {
            ...before,
            description: input.description === undefined ? before.description : input.description,
            environments: input.environments ? sorted(input.environments) : before.environments,
          };
          const moved = next.environments.join('\0') !== before.environments.join('\0');
          // Environments resolve to other values and other machines: the stored secrets would move there.
          if (moved) {
            const names = await connectionsWithSecrets(tx, project.id);
            const concerned = new Set([...before.environments, ...next.environments]);
            const demand = (permission: Permission, scope: Scope) => {
              if (!access.allowsInAll(principal, permission, scope, concerned))
                throw new AppError(
                  'forbidden',
                  `The token lacks the permission ${permission} in project '${project.name}' for each of the environments before and after`,
                );
            };
            for (const connection of names)
              demand('CONNECTIONS:REVEAL', { project: project.name, connection });
            if (await sendsHiddenVariable(tx, project.id))
              demand('VARIABLES:MANAGE', { project: project.name });
          }
          precondition(contentTag(viewOfProject(before)));
          await tx.run('update projects set description = $1 where id = $2', [next.description, next.id]);
          if (moved) {
            await tx.run('delete from project_environments where project_id = $1', [next.id]);
            await placeInEnvironments(tx, next);
          }
          await audit(tx, caller, next.name, 'project.update', {
            ...(moved ? { environments: next.environments, before: before.environments } : {}),
          });
          if (moved) await connections.replaceAll(tx, next);
          return next;
        });
        put(after);
      }),

    remove: (caller, name, force, precondition) =>
      inTurn(async () => {
        const project = byName.get(name);
        if (!project) throw projectNotFound(name);
        precondition(contentTag(viewOfProject(project)));
        await db.write(async (tx) => {
          if (!force) {
            const held = await tx.get(
              'select id from connections where project_id = $1 and deleted_at is null limit 1',
              [project.id],
            );
            if (held) {
              throw new AppError(
                'conflict',
                `Project '${name}' has connections; ?force=true deletes them too`,
              );
            }
          }
          await tx.run('delete from project_environments where project_id = $1', [project.id]);
          await tx.run('delete from projects where id = $1', [project.id]);
          await audit(tx, caller, name, 'project.delete', { force });
          // Last, as it takes the sequence numbers.
          if (force) await connections.removeAll(tx, project, caller.actor);
        });
        byName.delete(name);
        byId.delete(project.id);
      }),
  };
}

/** A project as Get answers it. */
export function viewOfProject(row: ProjectRow) {
  return { name: row.name, description: row.description, environments: [...row.environments] };
}

async function placeInEnvironments(tx: Transaction, project: ProjectRow): Promise<void> {
  const list = project.environments.map((_, index) => `$${index + 1}`).join(', ');
  const found = project.environments.length
    ? await tx.all<{ id: string; name: string }>(
        `select id, name from environments where name in (${list})`,
        project.environments,
      )
    : [];
  const missing = project.environments.filter((name) => !found.some((row) => row.name === name));
  if (missing.length > 0) {
    const names = missing.map((name) => `'${name}'`).join(', ');
    const message =
      missing.length === 1 ? `Environment ${names} not found` : `Environments ${names} not found`;
    throw new AppError('bad_request', message, {
      details: {
        validationErrors: [{ field: 'environments', message }],
        hint: 'An administrator makes environments, by POST /apiops/environments/ or on the page Fleet.',
      },
    });
  }
  for (const { id } of found) {
    await tx.run('insert into project_environments (project_id, environment_id) values ($1, $2)', [
      project.id,
      id,
    ]);
  }
}

async function connectionsWithSecrets(tx: Transaction, projectId: string): Promise<string[]> {
  const rows = await tx.all<{ name: string }>(
    "select name from connections where project_id = $1 and deleted_at is null and sealed <> '{}'",
    [projectId],
  );
  return rows.map(({ name }) => name);
}

/** Whether a connection refers to a variable that is not visible. */
async function sendsHiddenVariable(tx: Transaction, projectId: string): Promise<boolean> {
  const row = await tx.get(
    `select c.id from connections c
      join connection_references r on r.connection_id = c.id and r.revision = c.revision and r.kind = 'secret'
      join variables v on v.project_id = c.project_id and v.name = r.name
      join variable_values o on o.variable_id = v.id and o.visible = 0
      where c.project_id = $1 and c.deleted_at is null limit 1`,
    [projectId],
  );
  return row !== undefined;
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].sort((a, b) => (a < b ? -1 : 1));
}

function audit(
  tx: Transaction,
  caller: Caller,
  project: string,
  action: string,
  details: Record<string, unknown>,
): Promise<void> {
  return recordAudit(tx, { ...caller, project, action, target: project, details });
}
