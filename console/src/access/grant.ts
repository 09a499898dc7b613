import { grants as texts } from '../texts/access.ts';

/** What a token or user may do in one project, or in all (`*`). */
export interface Grant {
  project: string;
  permissions: string[];
  environments?: string[];
  connections?: string[];
  operations?: string[];
}

/** A grant in one line, for people. */
export function describeGrant({
  project,
  permissions,
  environments,
  connections,
  operations,
}: Grant): string {
  return [
    `${project === '*' ? texts.inAll : project}: ${permissions.join(', ')}`,
    ...(environments ? [texts.inEnvironments(environments)] : []),
    ...(connections ? [texts.onConnections(connections)] : []),
    ...(operations ? [texts.ofOperations(operations)] : []),
  ].join(' · ');
}

/** What the API takes of it: a narrowing to nothing is none. */
export function grantBody({ project, permissions, environments, connections, operations }: Grant): Grant {
  return {
    project,
    permissions,
    ...(environments?.length ? { environments } : {}),
    ...(connections?.length ? { connections } : {}),
    ...(operations?.length ? { operations } : {}),
  };
}
