import { definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { findReferences, resolveVariables } from '../../contract/references.ts';
import type { TrustObjects } from '../../contract/worker-protocol.ts';
import { type ObjectReference, trustObjects } from '../keys/stored-objects.ts';
import type { Queries } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { type ProjectVariables, readVariables } from './variable-values.ts';

type Config = Record<string, unknown>;

/** A configuration as one environment has it, or why it cannot be had there. */
export type Resolved = { config: Config; objects?: TrustObjects } | { refusal: string };

/** What the configurations of a project refer to, read once for as long as the resolver is used. */
export interface Resolver {
  variables(projectId: string): Promise<ProjectVariables>;
  /** Variables in their places, or a sentence that names those without a value. */
  values(
    projectId: string,
    type: string,
    config: Config,
    environment: string,
  ): Promise<{ config: Config } | { refusal: string }>;
  /** As `values`, with the keystores and certificates that it names and that exist there. */
  resolve(projectId: string, type: string, config: Config, environment: string): Promise<Resolved>;
}

/** Made for one pass over connections: what it has read does not change under it. */
export function createResolver(queries: Pick<Queries, 'all' | 'get'>, sealer: Sealer): Resolver {
  const read = new Map<string, Promise<ProjectVariables>>();
  const variables = (projectId: string) => {
    const known = read.get(projectId) ?? readVariables(queries, sealer, projectId);
    read.set(projectId, known);
    return known;
  };

  const values: Resolver['values'] = async (projectId, type, config, environment) => {
    if (!hasTemplate(config)) return { config };
    const known = await variables(projectId);
    const resolved = resolveVariables(definitionOfStored(type), config, (name) =>
      known.value(name, environment),
    );
    if (resolved.config) return { config: resolved.config };
    const names = [...new Set(resolved.missing.map(({ name }) => name))];
    return {
      refusal:
        names.length === 1
          ? `the variable ${names[0]} has no value in environment '${environment}'`
          : `the variables ${names.join(', ')} have no value in environment '${environment}'`,
    };
  };

  return {
    variables,
    values,
    async resolve(projectId, type, config, environment) {
      const resolved = await values(projectId, type, config, environment);
      if ('refusal' in resolved) return resolved;
      const objects = await trustObjects(
        queries,
        sealer,
        projectId,
        environment,
        namedObjects(type, resolved.config),
      );
      return { config: resolved.config, ...(objects ? { objects } : {}) };
    },
  };
}

/** Whether a text anywhere in a configuration may have to be resolved; `$${NAME}` has to be, too. */
export function hasTemplate(value: unknown): boolean {
  if (typeof value === 'string') return value.includes('${');
  if (typeof value !== 'object' || value === null) return false;
  // Of JSON, so that nothing is inherited; every change asks, and a list of the values costs twice as much.
  for (const name in value) if (hasTemplate((value as Record<string, unknown>)[name])) return true;
  return false;
}

const objectFields = ['keyStoreName', 'trustStoreName', 'certificateName'];

/** Keystores and certificates that a configuration names. */
export function namedObjects(type: string, config: Config): ObjectReference[] {
  if (!objectFields.some((field) => config[field])) return [];
  const named = findReferences(definitionOfStored(type), config).objects;
  return named.filter(
    (one, index) => named.findIndex((other) => other.kind === one.kind && other.name === one.name) === index,
  );
}

function definitionOfStored(type: string): ConnectionType {
  return definitions[type as keyof typeof definitions] as ConnectionType;
}
