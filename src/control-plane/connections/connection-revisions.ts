import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { Precondition } from '../server/entity-tag.ts';
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
  renaming,
  type Stored,
  withCurrent,
} from './connection-writes.ts';
import {
  type ConnectionRow,
  countRevisions,
  entityTag,
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
import { widenedBy } from './secret-reach.ts';

interface Parts {
  db: Database;
  sealer: Sealer;
  access: Access;
  checks: BodyChecks;
  writes: ConnectionWrites;
}

type LatestRow = ConnectionRow & { isDeleted: boolean };

/** What a connection was before, of a deleted one too, and the way back to it. */
export function createConnectionRevisions({ db, sealer, access, checks, writes }: Parts) {
  async function latest(project: ProjectRow, name: string): Promise<LatestRow> {
    const key = foldName(name);
    const row = await findConnection(db, project.id, key);
    if (row) return { ...row, isDeleted: false };
    const deleted = await findDeletedConnection(db, project.id, key);
    if (!deleted) throw notFound(name);
    return { ...deleted, isDeleted: true };
  }

  function withDiff(row: ConnectionRow, revision: RevisionRow, before: RevisionRow | undefined) {
    const open = ({ masked, sealed }: RevisionRow) => openConfig(sealer, { ...row, masked, sealed });
    return {
      ...revision,
      diff: diffRevisions(definitionOf(row.type), before && open(before), open(revision)),
    };
  }

  /** A page of the revisions, newest first, each with what it changed; and how many there are. */
  async function list(
    project: ProjectRow,
    name: string,
    { page, size }: { page: number; size: number },
  ): Promise<{ revisions: (RevisionRow & { diff: RevisionDiff[] })[]; count: number }> {
    const row = await latest(project, name);
    // One more, for what the last one of the page changed.
    const rows = await listRevisions(db, row.id, { limit: size + 1, offset: (page - 1) * size });
    const revisions = rows.slice(0, size).map((revision, n) => withDiff(row, revision, rows[n + 1]));
    return { revisions, count: await countRevisions(db, row.id) };
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
      const targets = targetsOf(project, listedEnvironments(JSON.parse(masked)));
      const scope = { project: project.name, connection: revision.name };
      if (sealed !== '{}' && !access.allowsInAll(caller.principal, 'CONNECTIONS:REVEAL', scope, targets))
        throw lacksReveal('what it refers to may lead elsewhere by now');
      await checks.demandHiddenVariables(project, definition, config, [], caller, resolver);
    }
    return checks.withVersions(project, list, resolver);
  }

  /** A revision's secrets go no further than the connection does now, unless the caller may read them. */
  function demandReach(
    project: ProjectRow,
    current: LatestRow,
    revision: RevisionRow,
    { principal }: ConnectionCaller,
  ): void {
    if (revision.sealed === '{}') return;
    const listed = JSON.parse(current.environments) as string[];
    // A deleted one that followed its project was left behind by the changes of its environments.
    const before = current.isDeleted && listed.length === 0 ? [] : targetsOf(project, listed);
    const widened = widenedBy(
      access,
      principal,
      project,
      { name: current.name, environments: before },
      {
        name: revision.name,
        environments: targetsOf(project, listedEnvironments(JSON.parse(revision.masked))),
      },
    );
    if (widened) throw lacksReveal(`its ${widened} would bring its secrets further`);
  }

  /** Brings a revision back with its own sealed secrets, of a deleted connection too. */
  async function restore(
    project: ProjectRow,
    name: string,
    revisionNumber: number,
    caller: ConnectionCaller,
    precondition: Precondition,
  ): Promise<Stored> {
    const { requireManage, store, replacing } = writes;
    return withCurrent(
      () => latest(project, name),
      async (current) => {
        const revision = await need(current, name, revisionNumber);
        const config = JSON.parse(revision.masked) as Config;
        const faults = environmentFaults(project, config);
        if (faults.length > 0) throw invalid(faults);
        requireManage(caller, project, current.name, JSON.parse(current.environments));
        requireManage(caller, project, revision.name, listedEnvironments(config));
        demandReach(project, current, revision, caller);
        const references = await restoredReferences(project, revision, current, caller);
        precondition(entityTag(current));
        const { isDeleted: _, ...kept } = current;
        const row: ConnectionRow = {
          ...kept,
          name: revision.name,
          revision: current.revision + 1,
          ...columnsOfConfig(config),
          masked: revision.masked,
          sealed: revision.sealed,
          updated_at: Date.now(),
        };
        const writeRow = replacing(current, row);
        const renamed = renaming(current, row);
        const details = { from: revisionNumber, ...renamed };
        const watch = await store(project, row, 'restore', caller, { references }, writeRow, details);
        return watch && { row, warnings: [], deployed: isLive(row) || isLive(current), watch, ...renamed };
      },
    );
  }

  return { list, get, restore };
}

function lacksReveal(why: string): AppError {
  return new AppError(
    'forbidden',
    `The token lacks the permission CONNECTIONS:REVEAL in every environment of the connection, which this revision needs: ${why}`,
  );
}
