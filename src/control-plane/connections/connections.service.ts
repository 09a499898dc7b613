import { randomBytes } from 'node:crypto';
import { foldName, nameFault } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import { createReadAudit, recordAudit } from '../audit/audit.service.ts';
import type { Access } from '../auth/access.ts';
import type { Caller } from '../auth/caller.ts';
import type { DeploymentWatch } from '../deployments/deployment-watch.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { ProjectRow } from '../server/route-access.ts';
import { type Database, isUniqueViolation, type Queries, type Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver } from '../variables/resolver.ts';
import {
  type Config,
  type ConnectionCaller,
  createBodyChecks,
  type Draft,
  type DraftReferences,
  definitionOf,
  environmentFaults,
  invalid,
  listedEnvironments,
} from './body-checks.ts';
import { createConnectionReads, type ReadConnection } from './connection-reads.ts';
import {
  type ConnectionRow,
  connectionsOfProject,
  entityTag,
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
import { textOpener } from './opened-text.ts';
import { isVariable, referencesOf } from './references.ts';
import { diffRevisions, type RevisionDiff } from './revision-diff.ts';
import * as sealedConfig from './sealed-config.ts';

/** A change that is durable, with the watch on what the workers make of it. */
export interface Stored {
  row: ConnectionRow;
  warnings: string[];
  /** Whether workers hold it or held it, so that a deployment result belongs into the answer. */
  deployed: boolean;
  watch: DeploymentWatch;
}

export interface Parts {
  db: Database;
  sealer: Sealer;
  access: Access;
  deployments: Deployments;
}

/** What a row opens to, as long as it is being stored. */
interface HeldBody {
  opened: Config;
  accepted: Draft['accepted'];
}

export type Connections = ReturnType<typeof createConnections>;

const attempts = 8;

/** Connections of projects: what is stored, by whom, and with which secrets. */
export function createConnections({ db, sealer, access, deployments }: Parts) {
  const auditRead = createReadAudit(db);
  const readByKey = createConnectionReads(db);
  const { check, demandHiddenVariables, withVersions } = createBodyChecks({ db, sealer, access });
  const openConfig = (row: Pick<ConnectionRow, 'id' | 'project_id' | 'masked' | 'sealed'>): Config =>
    sealedConfig.openConfig(sealer, row);

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

  function load(project: ProjectRow, name: string): Promise<ConnectionRow | undefined> {
    return findConnection(db, project.id, foldName(name));
  }

  async function need(project: ProjectRow, name: string): Promise<ConnectionRow> {
    const row = await load(project, name);
    if (!row) throw new AppError('not_found', `Connection (name: ${name}) was not found!`);
    return row;
  }

  /** As `need`, of what Get answers; at once where it can. */
  function read(project: ProjectRow, name: string): ReadConnection | Promise<ReadConnection> {
    return readByKey(project.id, foldName(name), name);
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
  ): { row: ConnectionRow; opened: Config } {
    const { columns, opened } = sealedConfig.sealConfig(sealer, definition, config, project.id, id);
    const row = {
      id,
      project_id: project.id,
      name: config['name'] as string,
      type: definition.type,
      revision,
      seq: 0,
      enabled: config['enabled'] === false ? 0 : 1,
      deploy_to_worker: config['deployToWorker'] === false ? 0 : 1,
      environments: JSON.stringify(listedEnvironments(config)),
      ...columns,
      created_at: createdAt,
      updated_at: now,
    };
    return { row, opened };
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
    { references, held }: { references: DraftReferences; held?: HeldBody },
    writeRow: (tx: Transaction) => Promise<boolean>,
    details?: Record<string, unknown>,
  ): Promise<DeploymentWatch | undefined> {
    const watch = deployments.watch(row.id, row.revision);
    if (held) watch.hold(row, held.opened, held.accepted);
    let written = false;
    const job = async (tx: Transaction) => {
      // A variable that changed since the check may lead elsewhere by now.
      if (!(await holdReferences(tx, project.id, references.list, references.versions))) return false;
      if (!(await writeRow(tx))) return false;
      if (row.revision > 1 || references.list.length > 0)
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
      if (action !== 'create' || !tx.isSerial) row.seq = await stampSequence(tx, row.id);
      return true;
    };
    try {
      written = await db.write(job, { onCommit: () => deployments.emit('committed') });
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
    const { row, opened } = rowOf(project, id, 1, draft, now, now);
    const { references, accepted } = draft;
    const content = { references, held: { opened, accepted } };
    const watch = await store(project, row, 'create', caller, content, async (tx) => {
      // Written once, in place of a row that is stamped at the end: its index is the dearest part.
      if (tx.isSerial) row.seq = await tx.nextSequence();
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
        const { row, opened } = rowOf(
          project,
          current.id,
          current.revision + 1,
          draft,
          current.created_at,
          Date.now(),
        );
        const renamed = foldName(row.name) !== foldName(current.name);
        const watch = await store(
          project,
          row,
          'update',
          caller,
          { references: draft.references, held: { opened, accepted: draft.accepted } },
          async (tx) => {
            if (!(await updateConnection(tx, row, foldName(row.name), current.revision))) return false;
            await deployments.hostKeys.forgetMoved(tx, current, row);
            return true;
          },
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
            await deployments.hostKeys.forget(tx, current);
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
  ): Promise<{ name: string; type: string; config: Config; warnings: string[]; connection?: string }> {
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
    return {
      name: config['name'] as string,
      type: definition.type,
      config,
      warnings,
      // A kept secret is sent to a server that shows the pinned key alone.
      ...(stored ? { connection: stored.row.id } : {}),
    };
  }

  /** The body with its secrets as JSON text; the audit row is durable when the promise resolves. */
  function reveal(project: ProjectRow, row: ReadConnection, caller: Caller): Promise<string> {
    const entry = {
      actor: caller.actor,
      project: project.name,
      action: 'connection.reveal',
      target: row.name,
      requestId: caller.requestId,
    };
    const { open } = row;
    if (!open) {
      // Not audited unless it opens; what has opened once opens always.
      const opener = textOpener(sealer, row);
      const text = opener();
      row.open = opener;
      return auditRead(entry).then(() => text);
    }
    let text: string | undefined;
    return auditRead(entry, () => {
      text = open();
    }).then(() => text ?? open());
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
          { references },
          async (tx) => {
            if (!(await updateConnection(tx, row, foldName(row.name), current.revision))) return false;
            await deployments.hostKeys.forgetMoved(tx, current, row);
            return true;
          },
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

  /**
   * Accepts, in one environment, the host key that was refused there, and deploys anew; `bad_request` for
   * one that was not seen. Accepting the key that is pinned already only deploys.
   */
  async function trustHostKey(
    project: ProjectRow,
    name: string,
    { fingerprint: given, environment: asked }: { fingerprint: string; environment: string | undefined },
    caller: ConnectionCaller,
  ): Promise<{ row: ConnectionRow; environments: string[]; watch: DeploymentWatch }> {
    const row = await need(project, name);
    const targets = targetsOf(project, JSON.parse(row.environments));
    const environment = asked ?? (targets.length === 1 ? targets[0] : undefined);
    if (environment === undefined || !targets.includes(environment))
      throw invalid([
        {
          field: 'environment',
          message: `${asked === undefined ? 'is required' : 'must be'}: one of ${targets.join(', ') || '(the connection has none)'}`,
        },
      ]);
    for (const permission of ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] as const)
      access.require(caller.principal, permission, {
        project: project.name,
        connection: row.name,
        environment,
      });
    const { hostKeys } = deployments;
    const server = hostKeys.concern(row.type)
      ? await hostKeys.serverIn(row, environment, createResolver(db, sealer))
      : undefined;
    if (server === undefined)
      throw new AppError(
        'bad_request',
        `Connection (name: ${row.name}) has no pinned host key in '${environment}': keys are pinned for SSH servers whose hostKeyFingerprint is not set`,
      );
    const fingerprint = given.replace(/=$/, '');
    const watch = deployments.watch(row.id, row.revision);
    try {
      await db.write(async (tx) => {
        const outcome = await hostKeys.accept(tx, row.id, environment, { server, fingerprint }, caller.actor);
        if ('refusal' in outcome) throw invalid([{ field: 'fingerprint', message: outcome.refusal }]);
        if (outcome.before !== fingerprint)
          await audit(tx, caller, project, 'connection.trust-host-key', row.name, {
            connection: row.id,
            environment,
            server,
            fingerprint,
            before: outcome.before,
          });
        await stampSequence(tx, row.id);
      });
    } catch (error) {
      watch.end();
      throw error;
    }
    const isDeployed = isLive(row) && (await deployments.deployedIn(row.id)).includes(environment);
    return { row, environments: isDeployed ? [environment] : [], watch };
  }

  /** Deletes every connection of a project within the caller's transaction; answers whether any was there. */
  async function removeAll(tx: Transaction, project: ProjectRow, actor: string): Promise<boolean> {
    const rows = await connectionsOfProject(tx, project.id);
    for (const row of rows) {
      await markDeleted(tx, row.id, row.revision, Date.now());
      await deployments.hostKeys.forget(tx, row);
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
    read,
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
    trustHostKey,
    removeAll,
    replaceAll,
    hasSecrets: async (queries: Pick<Queries, 'all' | 'get'>, projectId: string) =>
      (await connectionsOfProject(queries, projectId)).some((row) => row.sealed !== '{}'),
  };
}

/** 48 bits of time, 64 random ones, which are drawn for many ids. */
const ID_BYTES = 14;
let idBytes = Buffer.alloc(0);
let idBytesUsed = 0;

/** Begins with the time, so that what is made together lies together in every index: fewer pages a commit. */
function newId(now: number): string {
  if (idBytesUsed === idBytes.length) {
    idBytes = randomBytes(ID_BYTES * 128);
    idBytesUsed = 0;
  }
  idBytes.writeUIntBE(now, idBytesUsed, 6);
  idBytesUsed += ID_BYTES;
  return idBytes.toString('base64url', idBytesUsed - ID_BYTES, idBytesUsed);
}

function matches(ifMatch: string, row: ConnectionRow): boolean {
  return ifMatch.split(',').some((tag) => tag.trim() === '*' || tag.trim() === entityTag(row));
}
