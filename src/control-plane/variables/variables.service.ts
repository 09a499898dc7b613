import { randomUUID } from 'node:crypto';
import { AppError, type FieldFault } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import type { Permission, Principal } from '../auth/permissions.ts';
import type { ReferrerCaller, Referrers } from '../connections/referrers.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import type { NamedChange, NamedObjects } from '../server/named-object.routes.ts';
import { createNamedWrites } from '../server/named-object-writes.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Queries, Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import type { Tables } from '../store/tables.ts';
import { GLOBAL, openValue, placeOfValue } from './variable-values.ts';

type VariableRow = Tables['variables'];
type ValueRow = Tables['variable_values'];
type ReadOnly = Pick<Queries, 'all' | 'get'>;

export interface VariableInput {
  description?: string | null;
  global?: boolean | null;
  /** null: keeps one that is not visible. */
  globalValue?: string | null;
  globalVisible?: boolean | null;
  allowedHosts?: string[] | null;
  environmentValueList?:
    | { environmentName: string; value?: string | null; visible?: boolean | null }[]
    | null;
}

export interface VariableView {
  name: string;
  description: string | null;
  global: boolean;
  globalValue: string | null;
  globalVisible: boolean;
  allowedHosts: string[];
  environmentValueList: { environmentName: string; value: string | null; visible: boolean }[];
}

interface Stored {
  row: VariableRow;
  values: Map<string, ValueRow>;
}

/** A value as it is to be stored, opened. */
interface NewValue {
  visible: boolean;
  text: string;
}

/** The variables of projects, global or by environment. */
export function createVariables(parts: {
  db: Database;
  sealer: Sealer;
  access: Access;
  referrers: Referrers;
}): NamedObjects<VariableInput, VariableView> {
  const { db, sealer, access, referrers } = parts;
  const writes = createNamedWrites('variable', parts);

  async function load(queries: ReadOnly, project: ProjectRow, name: string): Promise<Stored> {
    const row = await writes.find(queries, project, name);
    const values = await queries.all<ValueRow>('select * from variable_values where variable_id = $1', [
      row.id,
    ]);
    return { row, values: new Map(values.map((value) => [value.environment, value])) };
  }

  /** A grant narrowed to environments sees and changes the values of these alone. */
  function may(principal: Principal, permission: Permission, project: ProjectRow, environment: string) {
    const wanted = environment === GLOBAL ? project.environments : [environment];
    return wanted.length === 0
      ? access.allows(principal, permission, { project: project.name })
      : wanted.every((one) =>
          access.allows(principal, permission, { project: project.name, environment: one }),
        );
  }

  function viewOf(principal: Principal, project: ProjectRow, { row, values }: Stored): VariableView {
    const shown = (value: ValueRow | undefined) =>
      value?.visible === 1 && may(principal, 'VARIABLES:VIEW', project, value.environment)
        ? value.value
        : null;
    const global = values.get(GLOBAL);
    return {
      name: row.name,
      description: row.description,
      global: row.global === 1,
      globalValue: shown(global),
      globalVisible: global ? global.visible === 1 : true,
      allowedHosts: JSON.parse(row.allowed_hosts) as string[],
      environmentValueList: [...values.values()]
        .filter(({ environment }) => environment !== GLOBAL)
        .sort((a, b) => (a.environment < b.environment ? -1 : 1))
        .map((value) => ({
          environmentName: value.environment,
          value: shown(value),
          visible: value.visible === 1,
        })),
    };
  }

  const tagOf = (view: VariableView, { row }: Stored) => contentTag({ ...view, version: row.version });

  /** What a body makes of the values that are stored; throws bad_request naming every fault. */
  function newValues(
    project: ProjectRow,
    input: VariableInput,
    stored: Map<string, ValueRow>,
  ): Map<string, NewValue> {
    const faults: FieldFault[] = [];
    const values = new Map<string, NewValue>();
    const add = (field: string, environment: string, value: string | null | undefined, visible: boolean) => {
      const before = stored.get(environment);
      if (value !== null && value !== undefined) {
        if (!value.isWellFormed()) faults.push({ field, message: 'must be well-formed Unicode' });
        else values.set(environment, { visible, text: value });
      } else if (!before) faults.push({ field, message: 'is required' });
      else if (before.visible === 1)
        faults.push({ field, message: 'is required; only a value that is not visible is kept' });
      else if (visible)
        faults.push({ field, message: 'must be given again to become visible: it is never read back' });
      else values.set(environment, { visible, text: openValue(sealer, project.id, before) ?? '' });
    };
    if (input.global) add('globalValue', GLOBAL, input.globalValue, input.globalVisible ?? true);
    else if (input.globalValue !== null && input.globalValue !== undefined)
      faults.push({ field: 'globalValue', message: 'needs global to be true' });
    for (const [index, entry] of (input.environmentValueList ?? []).entries()) {
      const field = `environmentValueList[${index}]`;
      const { environmentName: environment } = entry;
      if (!project.environments.includes(environment) && !stored.has(environment))
        faults.push({
          field: `${field}.environmentName`,
          message: `must be an environment of the project: ${project.environments.join(', ')}`,
        });
      else if (values.has(environment))
        faults.push({ field: `${field}.environmentName`, message: 'is there twice' });
      else add(`${field}.value`, environment, entry.value, entry.visible ?? true);
    }
    if (faults.length > 0)
      throw new AppError(
        'bad_request',
        faults.map(({ field, message }) => `${field} ${message}`).join('; '),
        {
          details: { validationErrors: faults },
        },
      );
    return values;
  }

  /** Environments whose own value is another one, is gone or new; `GLOBAL` among them. */
  function changedIn(
    projectId: string,
    before: ReadonlyMap<string, ValueRow>,
    after: ReadonlyMap<string, NewValue>,
  ): string[] {
    const textOf = (value: ValueRow | undefined) => value && openValue(sealer, projectId, value);
    return [...new Set([...before.keys(), ...after.keys()])].filter(
      (environment) => textOf(before.get(environment)) !== after.get(environment)?.text,
    );
  }

  function demandEnvironments(
    { principal }: ReferrerCaller,
    project: ProjectRow,
    environments: readonly string[],
  ): void {
    for (const environment of environments)
      if (!may(principal, 'VARIABLES:MANAGE', project, environment))
        throw new AppError(
          'forbidden',
          environment === GLOBAL
            ? 'The token lacks the permission VARIABLES:MANAGE in every environment, which a global value needs'
            : `The token lacks the permission VARIABLES:MANAGE for environment '${environment}'`,
        );
  }

  async function writeValues(
    tx: Transaction,
    projectId: string,
    id: string,
    before: ReadonlyMap<string, ValueRow>,
    after: ReadonlyMap<string, NewValue>,
  ): Promise<void> {
    for (const environment of before.keys())
      if (!after.has(environment))
        await tx.run('delete from variable_values where variable_id = $1 and environment = $2', [
          id,
          environment,
        ]);
    for (const [environment, { visible, text }] of after)
      await tx.run(
        `insert into variable_values (variable_id, environment, visible, value, sealed) values ($1, $2, $3, $4, $5)
          on conflict (variable_id, environment) do update set visible = $3, value = $4, sealed = $5`,
        [
          id,
          environment,
          visible ? 1 : 0,
          visible ? text : null,
          visible ? null : sealer.seal(text, placeOfValue(projectId, id, environment)),
        ],
      );
  }

  const isHidden = (values: ReadonlyMap<string, NewValue>) =>
    [...values.values()].some(({ visible }) => !visible);

  const namesOf = (environments: readonly string[]) =>
    environments.map((environment) => (environment === GLOBAL ? '(global)' : environment));

  return {
    async list(principal, project) {
      const rows = await writes.rows(project);
      const values = await db.all<ValueRow>(
        'select v.* from variable_values v join variables o on o.id = v.variable_id where o.project_id = $1',
        [project.id],
      );
      const byId = new Map(rows.map((row) => [row.id, { row, values: new Map<string, ValueRow>() }]));
      for (const value of values) byId.get(value.variable_id)?.values.set(value.environment, value);
      return [...byId.values()].map((stored) => viewOf(principal, project, stored));
    },

    async get(principal, project, name) {
      const stored = await load(db, project, name);
      const view = viewOf(principal, project, stored);
      return { view, tag: tagOf(view, stored) };
    },

    async create(caller, project, input) {
      const values = newValues(project, input, new Map());
      demandEnvironments(caller, project, [...values.keys()]);
      const id = randomUUID();
      const details = { values: namesOf([...values.keys()]) };
      const redeployment = await writes.create(caller, project, input.name, details, async (tx) => {
        await tx.run(
          `insert into variables (id, project_id, name, description, version, created_at, updated_at, global, allowed_hosts)
            values ($1, $2, $3, $4, 1, $5, $5, $6, $7)`,
          [
            id,
            project.id,
            input.name,
            input.description ?? null,
            Date.now(),
            input.global ? 1 : 0,
            JSON.stringify(input.allowedHosts ?? []),
          ],
        );
        await writeValues(tx, project.id, id, new Map(), values);
      });
      return { redeployment };
    },

    async update(caller, project, name, input, precondition: Precondition): Promise<NamedChange> {
      const redeployment = await writes.update(caller, project, { name, newName: input.name }, async (tx) => {
        await writes.hold(tx, project, name);
        const stored = await load(tx, project, name);
        const values = newValues(project, input, stored.values);
        const changed = changedIn(project.id, stored.values, values);
        const shown = [...values].filter(
          ([environment, { visible }]) => (stored.values.get(environment)?.visible === 1) !== visible,
        );
        const hosts = input.allowedHosts ?? [];
        const known = new Set(JSON.parse(stored.row.allowed_hosts) as string[]);
        const led = hosts.every((host) => known.has(host))
          ? []
          : [...stored.values].filter(([, { visible }]) => visible !== 1);
        demandEnvironments(caller, project, [
          ...changed,
          ...[...shown, ...led].map(([environment]) => environment),
        ]);
        precondition(tagOf(viewOf(caller.principal, project, stored), stored));
        await tx.run(
          'update variables set name = $1, description = $2, version = version + 1, updated_at = $3, global = $4, allowed_hosts = $5 where id = $6',
          [
            input.name,
            input.description ?? null,
            Date.now(),
            input.global ? 1 : 0,
            JSON.stringify(hosts),
            stored.row.id,
          ],
        );
        if (isHidden(values)) await referrers.demandSecretUse(tx, project.id, name);
        await writeValues(tx, project.id, stored.row.id, stored.values, values);
        return { isMoved: changed.length > 0, details: { values: namesOf(changed) } };
      });
      return { redeployment };
    },

    remove(caller, project, name, precondition) {
      return writes.remove(caller, project, name, async (tx) => {
        const stored = await load(tx, project, name);
        demandEnvironments(caller, project, [...stored.values.keys()]);
        precondition(tagOf(viewOf(caller.principal, project, stored), stored));
      });
    },
  };
}
