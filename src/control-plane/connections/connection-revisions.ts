import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver } from '../variables/resolver.ts';
import {
  type BodyChecks,
  type Config,
  type DraftReferences,
  definitionOf,
  environmentFaults,
  invalid,
  listedEnvironments,
} from './body-checks.ts';
import type { ConnectionCaller } from './connection-caller.ts';
import {
  type ConnectionWrites,
  columnsOfConfig,
  isLive,
  type Stored,
  withCurrent,
} from './connection-writes.ts';
import {
  type ConnectionRow,
  findConnection,
  findDeletedConnection,
  findRevision,
  listRevisions,
  notFound,
  previousRevision,
  type RevisionRow,
} from './connections.store.ts';
import { isVariable, referencesOf } from './references.ts';
import { diffRevisions, type RevisionDiff } from './revision-diff.ts';
import { openConfig } from './sealed-config.ts';

interface Parts {
  db: Database;
  sealer: Sealer;
  access: Access;
  checks: BodyChecks;
  writes: ConnectionWrites;
}

/** What a connection was before, of a deleted one too, and the way back to it. */
export function createConnectionRevisions({ db, sealer, access, checks, writes }: Parts) {
  async function latest(project: ProjectRow, name: string): Promise<ConnectionRow> {
    const key = foldName(name);
    const row =
      (await findConnection(db, project.id, key)) ?? (await findDeletedConnection(db, project.id, key));
    if (!row) throw notFound(name);
    return row;
  }

  function withDiff(row: ConnectionRow, revision: RevisionRow, before: RevisionRow | undefined) {
    const open = ({ masked, sealed }: RevisionRow) => openConfig(sealer, { ...row, masked, sealed });
    return {
      ...revision,
      diff: diffRevisions(definitionOf(row.type), before && open(before), open(revision)),
    };
  }

  /** All revisions, oldest first, each with what it changed. */
  async function list(
    project: ProjectRow,
    name: string,
  ): Promise<(RevisionRow & { diff: RevisionDiff[] })[]> {
    const row = await latest(project, name);
    const rows = await listRevisions(db, row.id);
    return rows.map((revision, place) => withDiff(row, revision, rows[place - 1]));
  }

  async function need(row: ConnectionRow, name: string, number: number): Promise<RevisionRow> {
    const found = await findRevision(db, row.id, number);
    if (!found) throw new AppError('not_found', `Connection (name: ${name}) has no revision ${number}`);
    return found;
  }

  async function get(
    project: ProjectRow,
    name: string,
    number: number,
  ): Promise<RevisionRow & { diff: RevisionDiff[] }> {
    const row = await latest(project, name);
    const found = await need(row, name, number);
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
    const { masked, sealed } = revision;
    const config = openConfig(sealer, { ...row, masked, sealed });
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
      if (sealed !== '{}')
        access.require(caller.principal, 'CONNECTIONS:REVEAL', {
          project: project.name,
          connection: revision.name,
        });
      await checks.demandHiddenVariables(project, definition, config, [], caller, resolver);
    }
    return checks.withVersions(project, list, resolver);
  }

  /** Brings a revision back with its own sealed secrets, of a deleted connection too. */
  async function restore(
    project: ProjectRow,
    name: string,
    revisionNumber: number,
    caller: ConnectionCaller,
    ifMatch?: string,
  ): Promise<Stored> {
    const { requireManage, store, replacing } = writes;
    return withCurrent(
      () => latest(project, name),
      ifMatch,
      async (current) => {
        const revision = await need(current, name, revisionNumber);
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
          ...columnsOfConfig(config),
          masked: revision.masked,
          sealed: revision.sealed,
          updated_at: Date.now(),
        };
        const writeRow = replacing(current, row);
        const details = { from: revisionNumber };
        const watch = await store(project, row, 'restore', caller, { references }, writeRow, details);
        return watch && { row, warnings: [], deployed: isLive(row) || isLive(current), watch };
      },
    );
  }

  return { list, get, restore };
}
