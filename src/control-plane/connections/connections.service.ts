import { randomBytes } from 'node:crypto';
import { foldName, nameFault } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import { createReadAudit, recordAudit } from '../audit/audit.service.ts';
import type { Access } from '../auth/access.ts';
import type { Caller } from '../auth/caller.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import type { Precondition } from '../server/entity-tag.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Queries, Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver } from '../variables/resolver.ts';
import {
  type Config,
  createBodyChecks,
  type Draft,
  definitionOf,
  listedEnvironments,
} from './body-checks.ts';
import type { ConnectionCaller } from './connection-caller.ts';
import { createConnectionDeployments } from './connection-deployments.ts';
import { createConnectionReads, type ReadConnection } from './connection-reads.ts';
import { createConnectionRevisions } from './connection-revisions.ts';
import {
  columnsOfConfig,
  createConnectionWrites,
  isLive,
  nameTaken,
  persist,
  renaming,
  type Stored,
  withCurrent,
} from './connection-writes.ts';
import {
  type ConnectionRow,
  connectionsOfProject,
  entityTag,
  findConnection,
  insertConnection,
  markDeleted,
  needConnection,
  stampSequence,
  storeReferences,
} from './connections.store.ts';
import { textOpener } from './opened-text.ts';
import { referencesOf } from './references.ts';
import * as sealedConfig from './sealed-config.ts';

interface Parts {
  db: Database;
  sealer: Sealer;
  access: Access;
  deployments: Deployments;
}

export type Connections = ReturnType<typeof createConnections>;

/** Connections of projects: what is stored, by whom, and with which secrets. */
export function createConnections({ db, sealer, access, deployments }: Parts) {
  const auditRead = createReadAudit(db);
  const readByKey = createConnectionReads(db);
  const checks = createBodyChecks({ db, sealer, access });
  const writes = createConnectionWrites({ db, access, deployments });
  const { check } = checks;
  const { requireManage, store } = writes;
  const openConfig = (row: Pick<ConnectionRow, 'id' | 'project_id' | 'masked' | 'sealed'>): Config =>
    sealedConfig.openConfig(sealer, row);

  function load(project: ProjectRow, name: string): Promise<ConnectionRow | undefined> {
    return findConnection(db, project.id, foldName(name));
  }

  /** What Get answers; at once where it can. */
  function read(project: ProjectRow, name: string): ReadConnection | Promise<ReadConnection> {
    return readByKey(project.id, foldName(name), name);
  }

  /** Update and Delete answer 400 where everything else answers 404 (seed contract). */
  async function needForWrite(project: ProjectRow, name: string): Promise<ConnectionRow> {
    const row = await load(project, name);
    if (!row) throw new AppError('bad_request', `Connection (name: ${name}) was not found!`);
    return row;
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
      ...columnsOfConfig(config),
      ...columns,
      created_at: createdAt,
      updated_at: now,
    };
    return { row, opened };
  }

  function create(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
  ): Promise<Stored> {
    return persist(() => tryCreate(project, pathName, body, caller), 'A variable');
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

  async function update(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
    options: { precondition: Precondition; rename: boolean },
  ): Promise<Stored> {
    return withCurrent(
      () => needForWrite(project, pathName),
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
        options.precondition(entityTag(current));
        const { row, opened } = rowOf(
          project,
          current.id,
          current.revision + 1,
          draft,
          current.created_at,
          Date.now(),
        );
        const renamed = renaming(current, row);
        const content = { references: draft.references, held: { opened, accepted: draft.accepted } };
        const writeRow = writes.replacing(current, row);
        const watch = await store(project, row, 'update', caller, content, writeRow, renamed);
        const deployed = isLive(row) || isLive(current);
        return watch && { row, warnings: draft.warnings, deployed, watch, ...renamed };
      },
    );
  }

  async function remove(
    project: ProjectRow,
    pathName: string,
    caller: ConnectionCaller,
    precondition: Precondition,
  ): Promise<Stored> {
    return withCurrent(
      () => needForWrite(project, pathName),
      async (current) => {
        requireManage(caller, project, current.name, JSON.parse(current.environments));
        precondition(entityTag(current));
        const watch = await writes.watched(current, false, async (tx) => {
          if (!(await markDeleted(tx, current.id, current.revision, Date.now()))) return false;
          await deployments.hostKeys.forget(tx, current);
          await writes.audit(tx, caller, project, 'connection.delete', current.name, {
            connection: current.id,
          });
          current.seq = await stampSequence(tx, current.id);
          return true;
        });
        return watch && { row: { ...current, enabled: 0 }, warnings: [], deployed: isLive(current), watch };
      },
    );
  }

  /** Every check of Create, or of Update where the name is taken; stores nothing. Answers the warnings. */
  async function validate(
    project: ProjectRow,
    pathName: string,
    body: unknown,
    caller: ConnectionCaller,
    rename: boolean,
  ): Promise<string[]> {
    const row = await load(project, pathName);
    if (row) requireManage(caller, project, row.name, JSON.parse(row.environments));
    const stored = row && { row, config: openConfig(row) };
    const { config, warnings } = await check(project, pathName, body, caller, stored, rename);
    const name = config['name'] as string;
    requireManage(caller, project, name, listedEnvironments(config));
    const isTaken = row && foldName(name) !== foldName(row.name) && (await load(project, name));
    if (isTaken) throw nameTaken(name);
    return warnings;
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
    need: (project: ProjectRow, name: string) => needConnection(db, project.id, name),
    read,
    create,
    update,
    remove,
    validate,
    draft,
    reveal,
    revisions: createConnectionRevisions({ db, sealer, access, checks, writes }),
    ...createConnectionDeployments({ db, sealer, access, deployments, writes }),
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
