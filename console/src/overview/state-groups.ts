import type { ConnectionOverview, ConnectionState } from '../../../client/plugboard.ts';
import { ago } from '../parts/relative-time.ts';
import { overview as texts } from '../texts/overview.ts';
import { states } from '../texts/states.ts';

type InEnvironment = ConnectionOverview['environments'][number];

/** The environments in which a connection does the same. */
export interface StateGroup {
  state: ConnectionState;
  environments: readonly InEnvironment[];
}

const worstFirst: readonly ConnectionState[] = [
  'failing',
  'refused',
  'noWorker',
  'pending',
  'notDeployed',
  'deployed',
  'disabled',
  'works',
];

/** A connection's environments by their state, the worst first. */
export function byState(environments: readonly InEnvironment[]): StateGroup[] {
  return worstFirst
    .map((state) => ({ state, environments: environments.filter((one) => one.state === state) }))
    .filter((group) => group.environments.length > 0);
}

/** What a group's badge says, of all environments of the connection: none is counted where it does not belong. */
export function textOf({ state, environments }: StateGroup, total: number): string {
  const { label } = states[state];
  if (environments.length === total) return label;
  return environments.length === 1
    ? texts.inOne(label, environments[0]!.environmentName)
    : texts.inSome(label, environments.length, total);
}

/** Which environments, and what they say. */
export function detailOf({ state, environments }: StateGroup): string {
  return environments
    .map(({ environmentName, since, message }) =>
      [
        `${environmentName}: ${message ?? states[state].help}`,
        since && state !== 'works' && texts.since(ago(since)),
      ]
        .filter(Boolean)
        .join(' '),
    )
    .join('\n');
}

/** Why the worst does not work, and since when. */
export function reasonOf(groups: readonly StateGroup[]): string | null {
  const worst = groups.find(({ state }) => state === 'failing' || state === 'refused')?.environments[0];
  if (!worst) return null;
  return [worst.since && texts.changed(ago(worst.since)), worst.message].filter(Boolean).join(': ');
}
