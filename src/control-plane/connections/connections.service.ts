import { randomBytes } from 'node:crypto';
import type { ConnectionTypeId } from '../../connectors/definitions.ts';
import { definitions } from '../../connectors/definitions.ts';
import { areAllowed, destinationHosts } from '../../connectors/destination-hosts.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { movedFields } from '../../contract/destination-binding.ts';
import { findReferences } from '../../contract/references.ts';
import { foldName, nameFault, parseConnection } from '../../contract/validation.ts';
import { AppError, type FieldFault } from '../../errors.ts';
import { createReadAudit, recordAudit } from '../audit/audit.service.ts';
import type { Access } from '../auth/access.ts';
import type { Caller } from '../auth/caller.ts';
import type { Principal } from '../auth/permissions.ts';
import type { Deployments, DeploymentWatch } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import { environmentsOfObject } from '../keys/stored-objects.ts';
import type { ProjectRow } from '../server/route-access.ts';
import { type Database, isUniqueViolation, type Queries, type Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver, type Resolver } from '../variables/resolver.ts';
import {
  type ConnectionRow,
  connectionsOfProject,
  findConnection,
  findDeletedConnection,
  findRevision,
  holdReferences,
  insertConnection,
  insertRevision,
  listRevisions,
  markDeleted,
  previousRevision,
  type RevisionRow,
  stampSequence,
  storeReferences,
  updateConnection,
} from './connections.store.ts';
import { type Reference, referencesOf } from './references.ts';
import { diffRevisions, type RevisionDiff } from './revision-diff.ts';
import * as sealedConfig from './sealed-config.ts';

export type Config = Record<string, unknown>;

/** Who asks, and what the token may do beyond what the route demanded. */
export interface ConnectionCaller extends Caller {
  principal: Principal;
}

/** A change that is durable, with the watch on what the workers make of it. */
export interface Stored {
  row: ConnectionRow;
  warnings: string[];
  /** Whether workers hold it or held it, so that a deployment result belongs into the answer. */
  deployed: boolean;
  watch: DeploymentWatch;
}

/** What a body that passed every check would store. */
interface Draft {
  definition: ConnectionType;
  config: Config;
  warnings: string[];
  references: DraftReferences;
}

/** What a body refers to, and the versions of the variables that it was checked against. */
interface DraftReferences {
  list: Reference[];
  versions: ReadonlyMap<string, number>;
}

export interface Parts {
  db: Database;
  sealer: Sealer;
  access: Access;
  deployments: Deployments;
}

export type Connections = ReturnType<typeof createConnections>;

const attempts = 8;

/** Connections of projects: what is stored, by whom, and with which secrets. */
export function createConnections({ db, sealer, access, deployments }: Parts) {
  const auditRead = createReadAudit(db);
  const openConfig = (row: Pick<ConnectionRow, 'id' | 'project_id' | 'masked' | 'sealed'>): Config =>
    sealedConfig.openConfig(sealer, row);

  /** Every check of a body against its definition, the project and what is stored under the name. */
  async function check(
    project: ProjectRow,
    pathName: string | undefined,
    body: unknown,
    caller: ConnectionCaller,
    stored?: { row: ConnectionRow; config: Config },
    rename = false,
  ): Promise<Draft> {
    if (typeof body !== 'object' || body === null || Array.isArray(body))
      throw new AppError('bad_request', 'The body must be a JSON object with the fields of the connection');
    const given = { ...body } as Config;
    const faults: FieldFault[] = [];
    if (stored && (given['type'] === undefined || given['type'] === null)) given['type'] = stored.row.type;
    if (stored && (given['name'] === undefined || given['name'] === null)) given['name'] = stored.row.name;
    const definition = definitionOf(given['type']);
    if (stored && definition.type !== stored.row.type)
      throw invalid([
        { field: 'type', message: `cannot change: the connection is of type ${stored.row.type}` },
      ]);
    if (pathName !== undefined && typeof given['name'] === 'string') {
      const wrong = nameFault(given['name']);
      if (!wrong && foldName(given['name']) !== foldName(pathName) && !rename)
        faults.push({
          field: 'name',
          message: stored
            ? `must match the name in the path, '${pathName}'; add ?rename=true to rename`
            : `must match the name in the path, '${pathName}'`,
        });
    }
    const parsed = parseConnection(definition, given, stored ? { stored: stored.config } : {});
    if (!parsed.ok) throw invalid([...faults, ...parsed.faults]);
    const config = parsed.config as Config;
    const warnings = [...parsed.warnings];
    faults.push(...environmentFaults(project, config));
    const resolver = createResolver(db, sealer);
    const references = findReferences(definition, config);
    if (references.variables.length > 0) {
      const variables = await resolver.variables(project.id);
      for (const { field, name, secret } of references.variables)
        if (!variables.has(name))
          faults.push({
            field,
            message: `refers to the variable ${name}, which project '${project.name}' does not have`,
          });
        else if (!secret && variables.isHidden(name))
          faults.push({
            field,
            message: `refers to the variable ${name}, which is not visible and may only be a whole secret`,
          });
    }
    warnings.push(...(await missingObjects(project, config, references.objects)));
    const moved =
      stored && (stored.row.sealed !== '{}' || references.variables.length > 0)
        ? await movedBy(project, definition, stored, config, resolver)
        : [];
    if (stored) faults.push(...keptSecretFaults(project, stored, config, parsed.kept ?? [], moved, caller));
    if (faults.length > 0) throw invalid(faults);
    await demandHiddenVariables(project, definition, config, moved, caller, resolver, stored);
    const list = await referencesOf(definition, config, project.id, project.environments, resolver);
    return { definition, config, warnings, references: await withVersions(project, list, resolver) };
  }

  async function withVersions(
    project: ProjectRow,
    list: Reference[],
    resolver: Resolver,
  ): Promise<DraftReferences> {
    const names = list.filter(({ kind }) => isVariable(kind)).map(({ name }) => name);
    const variables = names.length > 0 ? await resolver.variables(project.id) : undefined;
    return { list, versions: new Map(names.map((name) => [name, variables!.version(name)])) };
  }

  /** Warnings for keystores and certificates that are not there, or not in every environment. */
  async function missingObjects(
    project: ProjectRow,
    config: Config,
    objects: readonly { field: string; kind: 'keystore' | 'certificate'; name: string }[],
  ): Promise<string[]> {
    const warnings: string[] = [];
    for (const { field, kind, name } of objects) {
      const found = await environmentsOfObject(db, project.id, { kind, name });
      const missing = targetsOf(project, listedEnvironments(config)).filter(
        (environment) => found !== 'all' && !found?.includes(environment),
      );
      if (!found)
        warnings.push(
          `${field}: ${kind} '${name}' does not exist; workers refuse the connection until it does`,
        );
      else if (missing.length > 0)
        warnings.push(
          `${field}: ${kind} '${name}' has nothing for ${missing.join(', ')}; workers there refuse the connection until it has`,
        );
    }
    return warnings;
  }

  /** Fields that would lead secrets elsewhere, as they resolve in any environment. */
  async function movedBy(
    project: ProjectRow,
    definition: ConnectionType,
    stored: { row: ConnectionRow; config: Config },
    config: Config,
    resolver: Resolver,
  ): Promise<string[]> {
    const environments = new Set([
      ...targetsOf(project, JSON.parse(stored.row.environments)),
      ...targetsOf(project, listedEnvironments(config)),
    ]);
    const moved = new Set<string>();
    const compare = (before: Config, after: Config) => {
      for (const field of movedFields(definition, before, after)) moved.add(field);
    };
    if (environments.size === 0) compare(stored.config, config);
    for (const environment of environments) {
      const before = await resolver.values(project.id, definition.type, stored.config, environment);
      const after = await resolver.values(project.id, definition.type, config, environment);
      // What had no value was sent nowhere, and what has none may get any: the texts themselves must agree.
      if ('refusal' in before || 'refusal' in after) compare(stored.config, config);
      else compare(before.config, after.config);
    }
    return [...moved];
  }

  /**
   * Security 1, references as a way out: whoever sets a reference to a variable that is not visible,
   * or moves a connection that refers to one, has VARIABLES:MANAGE or sends it to an allowed host.
   */
  async function demandHiddenVariables(
    project: ProjectRow,
    definition: ConnectionType,
    config: Config,
    moved: readonly string[],
    { principal }: ConnectionCaller,
    resolver: Resolver,
    stored?: { row: ConnectionRow; config: Config },
  ): Promise<void> {
    const secrets = findReferences(definition, config).variables.filter(({ secret }) => secret);
    if (secrets.length === 0) return;
    const variables = await resolver.variables(project.id);
    const targets = targetsOf(project, listedEnvironments(config));
    const known = stored ? targetsOf(project, JSON.parse(stored.row.environments)) : [];
    const before = stored ? findReferences(definition, stored.config).variables : [];
    const stays = moved.length === 0 && targets.every((environment) => known.includes(environment));
    const concerned = secrets.filter(
      ({ field, name }) =>
        variables.isHidden(name) &&
        !(stays && before.some((one) => one.secret && one.field === field && one.name === name)),
    );
    for (const { field, name } of concerned)
      for (const environment of targets.length > 0 ? targets : [undefined]) {
        const scope = { project: project.name, ...(environment === undefined ? {} : { environment }) };
        if (access.allows(principal, 'VARIABLES:MANAGE', scope)) continue;
        const resolved =
          environment === undefined
            ? { config }
            : await resolver.values(project.id, definition.type, config, environment);
        const hosts = 'config' in resolved ? destinationHosts(definition.type, resolved.config) : undefined;
        if (areAllowed(hosts, variables.allowedHosts(name))) continue;
        throw new AppError(
          'forbidden',
          `${field} refers to the variable ${name}, which is not visible: sending it where its allowedHosts do not match needs the permission VARIABLES:MANAGE`,
        );
      }
  }

  /** Security 1: a kept secret stays bound to where it was sent so far. */
  function keptSecretFaults(
    project: ProjectRow,
    stored: { row: ConnectionRow; config: Config },
    config: Config,
    kept: string[],
    movedBefore: readonly string[],
    { principal }: ConnectionCaller,
  ): FieldFault[] {
    if (kept.length === 0) return [];
    const moved = [...movedBefore];
    const before = new Set(targetsOf(project, JSON.parse(stored.row.environments)));
    const spreads = targetsOf(project, listedEnvironments(config)).some((name) => !before.has(name));
    const mayReveal = access.allows(principal, 'CONNECTIONS:REVEAL', {
      project: project.name,
      connection: stored.row.name,
    });
    if (spreads && !mayReveal) moved.push('environments');
    if (moved.length === 0) return [];
    return kept.map((field) => ({
      field,
      message: `must be given again, because ${moved.join(', ')} changed: a kept secret is only ever sent where it was sent before`,
    }));
  }

  /** A grant may be narrowed to names and environments: a change needs it for every one it touches. */
  function requireManage(
    caller: ConnectionCaller,
    project: ProjectRow,
    name: string,
    listed: string[],
  ): void {
    for (const environment of targetsOf(project, listed))
      access.require(caller.principal, 'CONNECTIONS:MANAGE', {
        project: project.name,
        connection: name,
        environment,
      });
  }

  async function load(project: ProjectRow, name: string): Promise<ConnectionRow | undefined> {
    return findConnection(db, project.id, foldName(name));
  }

  async function need(project: ProjectRow, name: string): Promise<ConnectionRow> {
    const row = await load(project, name);
    if (!row) throw new AppError('not_found', `Connection (name: ${name}) was not found!`);
    return row;
  }

  /** Update and Delete answer 400 where everything else answers 404 (seed contract). */
  async function needForWrite(project: ProjectRow, name: string): Promise<ConnectionRow> {
    const row = await load(project, name);
    if (!row) throw new AppError('bad_request', `Connection (name: ${name}) was not found!`);
    return row;
  }

  async function audit(
    tx: Transaction,
    caller: ConnectionCaller,
    project: ProjectRow,
    action: string,
    target: string,
    details?: Record<string, unknown>,
  ): Promise<void> {
    await recordAudit(tx, {
      actor: caller.actor,
      project: project.name,
      action,
      target,
      requestId: caller.requestId,
      ...(details ? { details } : {}),
    });
  }

  function rowOf(
    project: ProjectRow,
    id: string,
    revision: number,
    { definition, config }: Draft,
    createdAt: number,
    now: number,
  ): ConnectionRow {
    return {
      id,
      project_id: project.id,
      name: config['name'] as string,
      type: definition.type,
      revision,
      seq: 0,
      enabled: config['enabled'] === false ? 0 : 1,
      deploy_to_worker: config['deployToWorker'] === false ? 0 : 1,
      environments: JSON.stringify(listedEnvironments(config)),
      ...sealedConfig.sealConfig(sealer, definition, config, project.id, id),
      created_at: createdAt,
      updated_at: now,
    };
  }

  const isLive = (row: Pick<ConnectionRow, 'enabled' | 'deploy_to_worker'>) =>
    row.enabled === 1 && row.deploy_to_worker === 1;

  /**
   * Writes revision, audit and place in the order of changes around `writeRow`, in one transaction;
   * undefined when `writeRow` found that somebody else was faster, or a variable is not as it was checked.
   */
  async function store(
    project: ProjectRow,
    row: ConnectionRow,
    action: 'create' | 'update' | 'restore',
    caller: ConnectionCaller,
    references: DraftReferences,
    writeRow: (tx: Transaction) => Promise<boolean>,
    details?: Record<string, unknown>,
  ): Promise<DeploymentWatch | undefined> {
    const watch = deployments.watch(row.id, row.revision);
    let written = false;
    try {
      written = await db.write(async (tx) => {
        // A variable that changed since the check may lead elsewhere by now.
        if (!(await holdReferences(tx, project.id, references.list, references.versions))) return false;
        if (!(await writeRow(tx))) return false;
        await storeReferences(tx, row.id, row.revision, references.list);
        await insertRevision(tx, row.id, {
          revision: row.revision,
          action,
          name: row.name,
          author: caller.actor,
          at: row.updated_at,
          masked: row.masked,
          sealed: row.sealed,
        });
        if (isLive(row)) await deployments.place(tx, project, row.id, JSON.parse(row.environments));
        await audit(tx, caller, project, `connection.${action}`, row.name, {
          connection: row.id,
          type: row.type,
          revision: row.revision,
          ...details,
        });
        row.seq = await stampSequence(tx, row.id);
        return true;
      });
    } catch (error) {
      if (!isUniqueViolation(error, 'connections_name')) throw error;
      throw new AppError('bad_request', `Connection (name: ${row.name}) already exists!`, {
        details: { validationErrors: [{ field: 'name', message: 'already exists in this project' }] },
      });
    } finally {
      if (!written) watch.end();
    }
    return written ? watch : undefined;
  }

  async function create(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
  ): Promise<Stored> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const stored = await tryCreate(project, pathName, body, caller);
      if (stored) return stored;
    }
    throw new AppError('unavailable', 'A variable is being changed by others all the time; try again');
  }

  async function tryCreate(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
  ): Promise<Stored | undefined> {
    const draft = await check(project, pathName, body, caller);
    requireManage(caller, project, draft.config['name'] as string, listedEnvironments(draft.config));
    const now = Date.now();
    const id = newId(now);
    const row = rowOf(project, id, 1, draft, now, now);
    const watch = await store(project, row, 'create', caller, draft.references, async (tx) => {
      await insertConnection(tx, row, foldName(row.name));
      return true;
    });
    return watch && { row, warnings: draft.warnings, deployed: isLive(row), watch };
  }

  /** Runs `change` on the row as it stands, again when somebody else was faster (unless `ifMatch` forbids that). */
  async function withCurrent<T>(
    read: () => Promise<ConnectionRow>,
    ifMatch: string | undefined,
    change: (current: ConnectionRow) => Promise<T | undefined>,
  ): Promise<T> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const current = await read();
      if (ifMatch !== undefined && !matches(ifMatch, current)) throw new AppError('precondition_failed');
      const done = await change(current);
      if (done !== undefined) return done;
    }
    throw new AppError('unavailable', 'The connection is being changed by others all the time; try again');
  }

  async function update(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
    options: { ifMatch?: string; rename?: boolean } = {},
  ): Promise<Stored> {
    return withCurrent(
      () => needForWrite(project, pathName),
      options.ifMatch,
      async (current) => {
        requireManage(caller, project, current.name, JSON.parse(current.environments));
        const draft = await check(
          project,
          pathName,
          body,
          caller,
          { row: current, config: openConfig(current) },
          options.rename,
        );
        requireManage(caller, project, draft.config['name'] as string, listedEnvironments(draft.config));
        const row = rowOf(project, current.id, current.revision + 1, draft, current.created_at, Date.now());
        const renamed = foldName(row.name) !== foldName(current.name);
        const watch = await store(
          project,
          row,
          'update',
          caller,
          draft.references,
          (tx) => updateConnection(tx, row, foldName(row.name), current.revision),
          renamed ? { renamedFrom: current.name } : undefined,
        );
        return watch && { row, warnings: draft.warnings, deployed: isLive(row) || isLive(current), watch };
      },
    );
  }

  async function remove(
    project: ProjectRow,
    pathName: string,
    caller: ConnectionCaller,
    ifMatch?: string,
  ): Promise<Stored> {
    return withCurrent(
      () => needForWrite(project, pathName),
      ifMatch,
      async (current) => {
        requireManage(caller, project, current.name, JSON.parse(current.environments));
        const watch = deployments.watch(current.id, current.revision);
        let written = false;
        try {
          written = await db.write(async (tx) => {
            if (!(await markDeleted(tx, current.id, current.revision, Date.now()))) return false;
            await audit(tx, caller, project, 'connection.delete', current.name, { connection: current.id });
            current.seq = await stampSequence(tx, current.id);
            return true;
          });
        } finally {
          if (!written) watch.end();
        }
        if (!written) return undefined;
        return { row: { ...current, enabled: 0 }, warnings: [], deployed: isLive(current), watch };
      },
    );
  }

  /** Every check of Create, or of Update where the name is taken; stores nothing. Answers the warnings. */
  async function validate(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
  ): Promise<string[]> {
    const row = await load(project, pathName);
    const stored = row && { row, config: openConfig(row) };
    return (await check(project, pathName, body, caller, stored)).warnings;
  }

  /** A body that is not stored, as a test runs it: secrets left out come from the stored one of that name and type. */
  async function draft(
    project: ProjectRow,
    body: unknown,
    caller: ConnectionCaller,
  ): Promise<{ name: string; type: string; config: Config; warnings: string[] }> {
    const given = typeof body === 'object' && body !== null ? (body as Config) : {};
    const name = typeof given['name'] === 'string' ? given['name'] : undefined;
    const row = name === undefined || nameFault(name) ? undefined : await load(project, name);
    const stored = row && row.type === given['type'] ? { row, config: openConfig(row) } : undefined;
    const { definition, config, warnings } = await check(
      project,
      undefined,
      name === undefined && typeof body === 'object' && body !== null ? { ...body, name: 'draft' } : body,
      caller,
      stored,
    );
    return { name: config['name'] as string, type: definition.type, config, warnings };
  }

  /** Audits the reading of secrets; durable before the promise resolves. */
  async function reveal(project: ProjectRow, row: ConnectionRow, caller: ConnectionCaller): Promise<Config> {
    const config = openConfig(row);
    await auditRead({
      actor: caller.actor,
      project: project.name,
      action: 'connection.reveal',
      target: row.name,
      requestId: caller.requestId,
    });
    return config;
  }

  async function latest(project: ProjectRow, name: string): Promise<ConnectionRow> {
    const row = (await load(project, name)) ?? (await findDeletedConnection(db, project.id, foldName(name)));
    if (!row) throw new AppError('not_found', `Connection (name: ${name}) was not found!`);
    return row;
  }

  function withDiff(row: ConnectionRow, revision: RevisionRow, before: RevisionRow | undefined) {
    const open = ({ masked, sealed }: RevisionRow) => openConfig({ ...row, masked, sealed });
    return {
      ...revision,
      diff: diffRevisions(definitionOf(row.type), before && open(before), open(revision)),
    };
  }

  /** All revisions, oldest first, each with what it changed. */
  async function revisions(
    project: ProjectRow,
    name: string,
  ): Promise<(RevisionRow & { diff: RevisionDiff[] })[]> {
    const row = await latest(project, name);
    const rows = await listRevisions(db, row.id);
    return rows.map((revision, place) => withDiff(row, revision, rows[place - 1]));
  }

  async function revision(
    project: ProjectRow,
    name: string,
    number: number,
  ): Promise<RevisionRow & { diff: RevisionDiff[] }> {
    const row = await latest(project, name);
    const found = await findRevision(db, row.id, number);
    if (!found) throw new AppError('not_found', `Connection (name: ${name}) has no revision ${number}`);
    return withDiff(row, found, await previousRevision(db, row.id, number));
  }

  /**
   * What a revision refers to may have changed since, unseen by those who guarded it then: bringing it
   * back with secrets needs REVEAL, and the right over variables that are not visible.
   */
  async function restoredReferences(
    project: ProjectRow,
    revision: RevisionRow,
    row: ConnectionRow,
    caller: ConnectionCaller,
  ): Promise<DraftReferences> {
    const definition = definitionOf(row.type);
    const config = openConfig({ ...row, masked: revision.masked, sealed: revision.sealed });
    const resolver = createResolver(db, sealer);
    const list = await referencesOf(definition, config, project.id, project.environments, resolver);
    if (list.length > 0) {
      const variables = await resolver.variables(project.id);
      const missing = list.find(({ kind, name }) => isVariable(kind) && !variables.has(name));
      if (missing)
        throw new AppError(
          'conflict',
          `Revision ${revision.revision} refers to the variable ${missing.name}, which project '${project.name}' does not have any more`,
        );
      if (revision.sealed !== '{}')
        access.require(caller.principal, 'CONNECTIONS:REVEAL', {
          project: project.name,
          connection: revision.name,
        });
      await demandHiddenVariables(project, definition, config, [], caller, resolver);
    }
    return withVersions(project, list, resolver);
  }

  /** Brings a revision back with its own sealed secrets, of a deleted connection too. */
  async function restore(
    project: ProjectRow,
    name: string,
    revisionNumber: number,
    caller: ConnectionCaller,
    ifMatch?: string,
  ): Promise<Stored> {
    return withCurrent(
      () => latest(project, name),
      ifMatch,
      async (current) => {
        const revision = await findRevision(db, current.id, revisionNumber);
        if (!revision)
          throw new AppError('not_found', `Connection (name: ${name}) has no revision ${revisionNumber}`);
        const config = JSON.parse(revision.masked) as Config;
        const faults = environmentFaults(project, config);
        if (faults.length > 0) throw invalid(faults);
        requireManage(caller, project, current.name, JSON.parse(current.environments));
        requireManage(caller, project, revision.name, listedEnvironments(config));
        const references = await restoredReferences(project, revision, current, caller);
        const row: ConnectionRow = {
          ...current,
          name: revision.name,
          revision: current.revision + 1,
          enabled: config['enabled'] === false ? 0 : 1,
          deploy_to_worker: config['deployToWorker'] === false ? 0 : 1,
          environments: JSON.stringify(listedEnvironments(config)),
          masked: revision.masked,
          sealed: revision.sealed,
          updated_at: Date.now(),
        };
        const watch = await store(
          project,
          row,
          'restore',
          caller,
          references,
          (tx) => updateConnection(tx, row, foldName(row.name), current.revision),
          { from: revisionNumber },
        );
        return watch && { row, warnings: [], deployed: isLive(row) || isLive(current), watch };
      },
    );
  }

  /** Deploys or undeploys without a change, in one environment or in all; `not_active` for what is not to be live. */
  async function deployByHand(
    project: ProjectRow,
    name: string,
    action: 'deploy' | 'undeploy',
    environment: string | undefined,
    caller: ConnectionCaller,
  ): Promise<{ row: ConnectionRow; environments: string[]; watch: DeploymentWatch }> {
    const row = await need(project, name);
    if (action === 'deploy' && !isLive(row))
      throw new AppError(
        'not_active',
        `Connection (name: ${row.name}) has ${row.enabled ? 'deployToWorker' : 'enabled'} set to false; set it to true to deploy`,
      );
    const targets = targetsOf(project, JSON.parse(row.environments));
    if (environment !== undefined && !targets.includes(environment))
      throw invalid([
        {
          field: 'environment',
          message: `must be one of ${targets.join(', ') || '(the connection has none)'}`,
        },
      ]);
    const environments = environment === undefined ? targets : [environment];
    for (const name of environments)
      access.require(caller.principal, 'CONNECTIONS:DEPLOY', {
        project: project.name,
        connection: row.name,
        environment: name,
      });
    const watch = deployments.watch(row.id, row.revision);
    try {
      await db.write(async (tx) => {
        if (action === 'deploy') await deployments.place(tx, project, row.id, environments);
        else for (const name of environments) await deployments.withdraw(tx, row.id, name);
        await audit(tx, caller, project, `connection.${action}`, row.name, { environments });
        await stampSequence(tx, row.id);
      });
    } catch (error) {
      watch.end();
      throw error;
    }
    return { row, environments, watch };
  }

  /** Deletes every connection of a project within the caller's transaction; answers whether any was there. */
  async function removeAll(tx: Transaction, project: ProjectRow, actor: string): Promise<boolean> {
    const rows = await connectionsOfProject(tx, project.id);
    for (const row of rows) {
      await markDeleted(tx, row.id, row.revision, Date.now());
      await recordAudit(tx, {
        actor,
        project: project.name,
        action: 'connection.delete',
        target: row.name,
        details: { connection: row.id },
      });
      await stampSequence(tx, row.id);
    }
    return rows.length > 0;
  }

  /** Places every connection of a project anew after its environments changed. */
  async function replaceAll(tx: Transaction, project: ProjectRow): Promise<void> {
    const resolver = createResolver(tx, sealer);
    for (const row of await connectionsOfProject(tx, project.id)) {
      if (isLive(row)) await deployments.place(tx, project, row.id, JSON.parse(row.environments));
      // The name of a keystore may come from a variable, which holds another one in a new environment.
      if (row.masked.includes('${'))
        await storeReferences(
          tx,
          row.id,
          row.revision,
          await referencesOf(
            definitionOf(row.type),
            openConfig(row),
            project.id,
            project.environments,
            resolver,
          ),
        );
      await stampSequence(tx, row.id);
    }
  }

  return {
    openConfig,
    load,
    need,
    create,
    update,
    remove,
    validate,
    draft,
    reveal,
    revisions,
    revision,
    restore,
    deployByHand,
    removeAll,
    replaceAll,
    hasSecrets: async (queries: Pick<Queries, 'all' | 'get'>, projectId: string) =>
      (await connectionsOfProject(queries, projectId)).some((row) => row.sealed !== '{}'),
  };
}

const isVariable = (kind: Reference['kind']) => kind === 'variable' || kind === 'secret';

/** Begins with the time, so that what is made together lies together in every index: fewer pages a commit. */
function newId(now: number): string {
  const bytes = randomBytes(14);
  bytes.writeUIntBE(now, 0, 6);
  return bytes.toString('base64url');
}

/** The definition of a body's `type`; missing or unknown: `bad_request` on that field. */
export function definitionOf(type: unknown): ConnectionType {
  const known = Object.keys(definitions);
  if (type === undefined || type === null)
    throw invalid([{ field: 'type', message: `is required; one of ${known.join(', ')}` }]);
  if (typeof type !== 'string' || !Object.hasOwn(definitions, type))
    throw invalid([{ field: 'type', message: `must be one of ${known.join(', ')}` }]);
  return definitions[type as ConnectionTypeId] as ConnectionType;
}

/** All faults of a body as one error that reads well without its list. */
export function invalid(faults: FieldFault[]): AppError {
  const merged = new Map<string, string>();
  for (const { field, message } of faults) {
    const earlier = merged.get(field);
    merged.set(field, earlier === undefined ? message : `${earlier}; ${message}`);
  }
  const validationErrors = [...merged].map(([field, message]) => ({ field, message }));
  const text = validationErrors
    .map(({ field, message }) => (field ? `${field} ${message}` : message))
    .join('; ');
  return new AppError('bad_request', text.length > 2000 ? `${text.slice(0, 2000)} …` : text, {
    details: { validationErrors },
  });
}

/** Quoted entity tag of a connection's state. */
export function entityTag(row: Pick<ConnectionRow, 'id' | 'revision'>): string {
  return `"${row.id}.${row.revision}"`;
}

function matches(ifMatch: string, row: ConnectionRow): boolean {
  return ifMatch.split(',').some((tag) => tag.trim() === '*' || tag.trim() === entityTag(row));
}

/** The environments a body asks for: the selected one, else the listed ones; empty: all of the project's. */
function listedEnvironments(config: Config): string[] {
  const selected = config['selectedEnvironmentId'];
  if (typeof selected === 'string') return [selected];
  return (config['environments'] ?? []) as string[];
}

function environmentFaults(project: ProjectRow, config: Config): FieldFault[] {
  const known = (name: string) => project.environments.includes(name);
  const say = (name: string) =>
    `'${name}' is not an environment of project '${project.name}' (${project.environments.join(', ') || 'it has none'})`;
  const faults = ((config['environments'] ?? []) as string[]).flatMap((name, index) =>
    known(name) ? [] : [{ field: `environments[${index}]`, message: say(name) }],
  );
  const selected = config['selectedEnvironmentId'];
  if (typeof selected === 'string' && !known(selected))
    faults.push({ field: 'selectedEnvironmentId', message: say(selected) });
  return faults;
}
