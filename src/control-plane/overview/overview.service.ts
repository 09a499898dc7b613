import { definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { foldName } from '../../contract/validation.ts';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import { targetsOf } from '../deployments/targets.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';
import { targetText } from './target-text.ts';

/** How a connection does in one environment. */
export const STATES = [
  'works',
  'failing',
  'deployed',
  'refused',
  'pending',
  'noWorker',
  'notDeployed',
  'disabled',
] as const;
export type State = (typeof STATES)[number];

export interface EnvironmentState {
  environmentName: string;
  state: State;
  /** When the worker said so; null when it is no worker's word. */
  since: string | null;
  code: string | null;
  message: string | null;
}

export interface Overview {
  name: string;
  type: string;
  description: string | null;
  labels: Record<string, string>;
  enabled: boolean;
  /** Where it points, for people. */
  target: string | null;
  revision: number;
  updatedAt: string;
  /** Minute of the last operation of the last 24 hours. */
  lastUsedAt: string | null;
  environments: EnvironmentState[];
}

export interface OverviewParts {
  db: Database;
  workers: ConnectedWorkers;
  deployments: Pick<Deployments, 'refusals'>;
}

export interface OverviewQuery {
  name?: string;
  type?: string;
  environment?: string;
  state?: State;
  q?: string;
  page: number;
  size: number;
}

export interface OverviewPage {
  resultList: Overview[];
  resultCount: number;
  /** How many of those that match all but `state` are in each state somewhere. */
  states: Record<State, number>;
}

type Row = Pick<
  Tables['connections'],
  | 'id'
  | 'project_id'
  | 'name'
  | 'type'
  | 'revision'
  | 'enabled'
  | 'deploy_to_worker'
  | 'environments'
  | 'masked'
  | 'sealed'
  | 'updated_at'
>;
type Placed = Pick<Tables['deployments'], 'connection_id' | 'undeployed'> & { environment: string };
type Said = Pick<
  Tables['verdicts'],
  'connection_id' | 'worker_id' | 'revision' | 'step' | 'code' | 'message' | 'at'
>;

const rowsOf = `select id, project_id, name, type, revision, enabled, deploy_to_worker, environments, masked, sealed,
    updated_at from connections where project_id = $1 and deleted_at is null order by name_key`;
const placedIn = `select d.connection_id, d.undeployed, e.name as environment from connections c
  join deployments d on d.connection_id = c.id join environments e on e.id = d.environment_id
  where c.project_id = $1 and c.deleted_at is null`;
const saidOf = `select v.connection_id, v.worker_id, v.revision, v.step, v.code, v.message, v.at from connections c
  join verdicts v on v.connection_id = c.id where c.project_id = $1 and c.deleted_at is null`;

/** The worst that a worker of an environment says is what the environment's state is. */
const worstFirst: readonly State[] = ['refused', 'failing', 'pending', 'deployed', 'works'];
const stateOfStep: Readonly<Record<string, State>> = {
  received: 'pending',
  valid: 'deployed',
  connected: 'works',
  unreachable: 'failing',
  refused: 'refused',
};

/** The connections of a project with how each does in each environment, filtered and a page of it. */
export async function overviewOf(
  { db, workers, deployments }: OverviewParts,
  project: ProjectRow,
  query: OverviewQuery,
  visible: (name: string) => boolean,
): Promise<OverviewPage> {
  const [rows, placed, said] = await Promise.all([
    db.all<Row>(rowsOf, [project.id]),
    db.all<Placed>(placedIn, [project.id]),
    db.all<Said>(saidOf, [project.id]),
  ]);
  const placedBy = Map.groupBy(placed, (row) => row.connection_id);
  const saidBy = Map.groupBy(said, (row) => row.connection_id);
  const connected = new Map(
    project.environments.map((name) => [name, new Set(workers.of(name).map(({ id }) => id))]),
  );

  const types = query.type === undefined || query.type === '*' ? undefined : new Set(query.type.split(','));
  const needle = query.q?.toLowerCase();
  const name = query.name === undefined ? undefined : foldName(query.name);
  const states = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
  const matching: { row: Row; environments: EnvironmentState[] }[] = [];
  for (const row of rows) {
    if (types && !types.has(row.type)) continue;
    if (name !== undefined && foldName(row.name) !== name) continue;
    if (!visible(row.name)) continue;
    if (needle && !isFound(row, needle)) continue;
    const environments = targetsOf(project, JSON.parse(row.environments) as string[])
      .filter((name) => query.environment === undefined || name === query.environment)
      .map((name) =>
        stateIn(
          name,
          row,
          placedBy.get(row.id) ?? [],
          saidBy.get(row.id) ?? [],
          connected.get(name) ?? new Set(),
        ),
      );
    if (query.environment !== undefined && environments.length === 0) continue;
    for (const state of new Set(environments.map((one) => one.state))) states[state] += 1;
    if (query.state && !environments.some(({ state }) => state === query.state)) continue;
    matching.push({ row, environments });
  }

  const start = (query.page - 1) * query.size;
  const page = matching.slice(start, start + query.size);
  for (const { row, environments } of page) await explainPending(deployments, row, environments);
  const used = await lastUses(
    db,
    page.map(({ row }) => row.id),
  );
  return {
    resultList: page.map(({ row, environments }) => viewOf(row, environments, used.get(row.id))),
    resultCount: matching.length,
    states,
  };
}

function stateIn(
  environmentName: string,
  row: Row,
  placed: readonly Placed[],
  said: readonly Said[],
  connected: ReadonlySet<string>,
): EnvironmentState {
  const plain = (state: State) => ({ environmentName, state, since: null, code: null, message: null });
  if (row.enabled === 0) return plain('disabled');
  const here = placed.find(({ environment }) => environment === environmentName);
  if (row.deploy_to_worker === 0 || !here || here.undeployed === 1) return plain('notDeployed');
  if (connected.size === 0) return plain('noWorker');
  let worst: { state: State; verdict: Said } | undefined;
  let answered = 0;
  for (const verdict of said) {
    if (!connected.has(verdict.worker_id) || verdict.revision !== row.revision) continue;
    const state = stateOfStep[verdict.step];
    if (!state) continue;
    answered += 1;
    if (!worst || worstFirst.indexOf(state) < worstFirst.indexOf(worst.state)) worst = { state, verdict };
  }
  if (!worst || (answered < connected.size && worst.state !== 'refused' && worst.state !== 'failing'))
    return plain('pending');
  const { state, verdict } = worst;
  return {
    environmentName,
    state,
    since: new Date(verdict.at).toISOString(),
    code: verdict.code,
    message: verdict.message,
  };
}

/** What no worker was asked for, as something that it refers to is missing, would be pending for ever. */
async function explainPending(
  deployments: Pick<Deployments, 'refusals'>,
  row: Row,
  environments: EnvironmentState[],
): Promise<void> {
  const pending = environments.filter(({ state }) => state === 'pending');
  if (pending.length === 0) return;
  const refusals = await deployments.refusals(
    row,
    pending.map(({ environmentName }) => environmentName),
  );
  for (const one of pending) {
    const message = refusals.get(one.environmentName);
    if (message !== undefined) Object.assign(one, { state: 'refused', code: 'missing_reference', message });
  }
}

function isFound(row: Row, needle: string): boolean {
  if (row.name.toLowerCase().includes(needle)) return true;
  const { description } = JSON.parse(row.masked) as { description?: string | null };
  return description?.toLowerCase().includes(needle) ?? false;
}

async function lastUses(db: Database, ids: string[]): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map();
  const list = ids.map((_, index) => `$${index + 1}`).join(', ');
  const rows = await db.all<{ connection_id: string; minute: number }>(
    `select connection_id, max(minute) as minute from health_minutes
      where connection_id in (${list}) and ok + failed > 0 group by connection_id`,
    ids,
  );
  return new Map(rows.map((row) => [row.connection_id, Number(row.minute)]));
}

function viewOf(row: Row, environments: EnvironmentState[], usedAt: number | undefined): Overview {
  const masked = JSON.parse(row.masked) as Record<string, unknown>;
  return {
    name: row.name,
    type: row.type,
    description: (masked.description as string | null) ?? null,
    labels: (masked.labels as Record<string, string> | null) ?? {},
    enabled: row.enabled === 1,
    target: targetText((definitions as unknown as Record<string, ConnectionType>)[row.type]!, masked),
    revision: row.revision,
    updatedAt: new Date(row.updated_at).toISOString(),
    lastUsedAt: usedAt === undefined ? null : new Date(usedAt).toISOString(),
    environments,
  };
}
