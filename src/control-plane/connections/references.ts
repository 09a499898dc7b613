import type { ConnectionType } from '../../contract/connection-type.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';
import { findReferences } from '../../contract/references.ts';
import { namedObjects, type Resolver } from '../variables/resolver.ts';

/** variable: within a text · secret: a variable that is a whole secret. */
export interface Reference {
  kind: 'variable' | 'secret' | 'keystore' | 'certificate';
  name: string;
}

/** Everything of its project that a configuration refers to in any of the environments, once each. */
export async function referencesOf(
  definition: ConnectionType,
  config: Record<string, unknown>,
  projectId: string,
  environments: readonly string[],
  resolver: Resolver,
): Promise<Reference[]> {
  const found = new Map<string, Reference>();
  const add = (reference: Reference) => found.set(`${reference.kind} ${reference.name}`, reference);
  const { variables } = findReferences(definition, config);
  for (const { name, secret } of variables) add({ kind: secret ? 'secret' : 'variable', name });
  for (const { kind, name } of namedObjects(definition.type, config)) add({ kind, name });
  // A name may come from a variable, and then be another one in each environment.
  if ([config['keyStoreName'], config['trustStoreName'], config['certificateName']].some(hasVariable))
    for (const environment of environments) {
      const resolved = await resolver.values(projectId, definition.type, config, environment);
      if ('config' in resolved)
        for (const { kind, name } of namedObjects(definition.type, resolved.config)) add({ kind, name });
    }
  return [...found.values()];
}

export const isVariable = (kind: Reference['kind']) => kind === 'variable' || kind === 'secret';
