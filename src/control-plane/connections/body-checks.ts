import type { ConnectionTypeId } from '../../connectors/definitions.ts';
import { definitions } from '../../connectors/definitions.ts';
import { areAllowed, destinationHosts } from '../../connectors/destination-hosts.ts';
import type { AcceptedForm } from '../../contract/accepted-form.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { movedFields } from '../../contract/destination-binding.ts';
import { findReferences } from '../../contract/references.ts';
import { foldName, nameFault, parseConnection } from '../../contract/validation.ts';
import { AppError, type FieldFault } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import { targetsOf } from '../deployments/targets.ts';
import { environmentsOfObject } from '../keys/stored-objects.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import { createResolver, type Resolver } from '../variables/resolver.ts';
import type { ConnectionCaller } from './connection-caller.ts';
import type { ConnectionRow } from './connections.store.ts';
import { isVariable, type Reference, referencesOf } from './references.ts';
import { widenedBy } from './secret-reach.ts';

export type Config = Record<string, unknown>;

/** What a body that passed every check would store. */
export interface Draft {
  definition: ConnectionType;
  config: Config;
  accepted: AcceptedForm | undefined;
  warnings: string[];
  references: DraftReferences;
}

/** What a body refers to, and the versions of the variables that it was checked against. */
export interface DraftReferences {
  list: Reference[];
  versions: ReadonlyMap<string, number>;
}

const noReferences: DraftReferences = { list: [], versions: new Map() };

/** A connection as it stands, its secrets open. */
export interface StoredBody {
  row: ConnectionRow;
  config: Config;
}

export type BodyChecks = ReturnType<typeof createBodyChecks>;

/** What a body has to pass before it is stored. */
export function createBodyChecks({ db, sealer, access }: { db: Database; sealer: Sealer; access: Access }) {
  /** Every check of a body against its definition, the project and what is stored under the name. */
  async function check(
    project: ProjectRow,
    pathName: string | undefined,
    body: unknown,
    caller: ConnectionCaller,
    stored?: StoredBody,
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
    if (!parsed.ok)
      throw invalid([...faults, ...parsed.faults, ...environmentFaults(project, given, stored?.config)]);
    const config = parsed.config as Config;
    const warnings = [...parsed.warnings];
    faults.push(...environmentFaults(project, config, stored?.config));
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
    if (references.objects.length > 0)
      warnings.push(...(await missingObjects(project, config, references.objects)));
    const moved =
      stored && (stored.row.sealed !== '{}' || references.variables.length > 0)
        ? await movedBy(project, definition, stored, config, resolver)
        : [];
    if (stored) faults.push(...keptSecretFaults(project, stored, config, parsed.kept ?? [], moved, caller));
    if (faults.length > 0) throw invalid(faults);
    if (references.variables.length > 0)
      await demandHiddenVariables(project, definition, config, moved, caller, resolver, stored);
    const { accepted } = parsed;
    const refersToNothing = references.variables.length === 0 && references.objects.length === 0;
    if (refersToNothing) return { definition, config, accepted, warnings, references: noReferences };
    const list = await referencesOf(definition, config, project.id, project.environments, resolver);
    return {
      definition,
      config,
      accepted,
      warnings,
      references: await withVersions(project, list, resolver),
    };
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
    stored: StoredBody,
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
    stored?: StoredBody,
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
    stored: StoredBody,
    config: Config,
    kept: string[],
    movedBefore: readonly string[],
    { principal }: ConnectionCaller,
  ): FieldFault[] {
    if (kept.length === 0) return [];
    const { name, environments } = stored.row;
    const widened = widenedBy(
      access,
      principal,
      project,
      { name, environments: targetsOf(project, JSON.parse(environments)) },
      { name: config['name'] as string, environments: targetsOf(project, listedEnvironments(config)) },
    );
    const moved = widened === undefined ? movedBefore : [...movedBefore, widened];
    if (moved.length === 0) return [];
    return kept.map((field) => ({
      field,
      message: `must be given again, because ${moved.join(', ')} changed: a kept secret is only ever sent where it was sent before`,
    }));
  }

  return { check, demandHiddenVariables, withVersions };
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

/** The environments a body asks for: the selected one, else the listed ones; empty: all of the project's. */
export function listedEnvironments(config: Config): string[] {
  const selected = config['selectedEnvironmentId'];
  if (typeof selected === 'string') return [selected];
  return (config['environments'] ?? []) as string[];
}

export function environmentFaults(project: ProjectRow, config: Config, stored?: Config): FieldFault[] {
  // What Get returns Update accepts, also when the project has left an environment since.
  const kept = stored ? [...listedEnvironments(stored), stored['selectedEnvironmentId']] : [];
  const known = (name: string) => project.environments.includes(name) || kept.includes(name);
  const say = (name: string) =>
    `'${name}' is not an environment of project '${project.name}' (${project.environments.join(', ') || 'it has none'})`;
  const listed: unknown[] = Array.isArray(config['environments']) ? config['environments'] : [];
  const faults = listed.flatMap((name, index) =>
    typeof name !== 'string' || known(name) ? [] : [{ field: `environments[${index}]`, message: say(name) }],
  );
  const selected = config['selectedEnvironmentId'];
  if (typeof selected === 'string' && !known(selected))
    faults.push({ field: 'selectedEnvironmentId', message: say(selected) });
  return faults;
}
