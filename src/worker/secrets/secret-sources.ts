import { createHmac, randomBytes } from 'node:crypto';
import type { Logger, Network } from '../../connectors/connector.ts';
import { destinationHosts } from '../../connectors/destination-hosts.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { type FieldPath, formatFieldPath } from '../../contract/field-path.ts';
import { parseSecretReference, type SecretReference } from '../../contract/reference-syntax.ts';
import { secretPlaces } from '../../contract/secret-places.ts';
import { AppError } from '../../errors.ts';
import { SecretFiles } from './secret-files.ts';
import { parseSecretRule, rulesFor, type SecretRule } from './secret-policy.ts';
import { Vault, type VaultOptions } from './vault.ts';

export interface SecretSourceOptions {
  /** Entries of PLUGBOARD_WORKER_SECRET_SOURCES; none: no reference is resolved. */
  allow: readonly string[];
  /** The variables of the process. */
  environment: Readonly<Record<string, string | undefined>>;
  vault?: VaultOptions;
}

export interface ResolvedSecrets {
  config: Record<string, unknown>;
  /** Differs when a value differs; says nothing of the values. Absent without references. */
  digest?: string;
}

const maxLength = 64 * 1024;

/** Whether a configuration holds a reference that only a worker resolves. */
export function hasSecretReference(definition: ConnectionType, config: Record<string, unknown>): boolean {
  return secretPlaces(definition, config).some(
    ({ kind, value }) => kind === 'value' && parseSecretReference(value) !== undefined,
  );
}

/** Resolves secret references from the sources that the worker's operator allowed (security.md 1). */
export class SecretSources {
  readonly #rules: readonly SecretRule[];
  readonly #environment: SecretSourceOptions['environment'];
  readonly #files: SecretFiles;
  readonly #vault: Vault | undefined;
  readonly #digestKey = randomBytes(32);
  #onChange: () => void = () => {};

  /** Throws `invalid_configuration` for an entry that cannot be read. */
  constructor(options: SecretSourceOptions, network: Network, log: Logger) {
    this.#rules = options.allow.map(parseSecretRule);
    this.#environment = options.environment;
    this.#files = new SecretFiles(() => this.#onChange());
    this.#vault = options.vault && new Vault(options.vault, network, log);
  }

  /** Calls back when a file of a reference may have changed; the one listener there is. */
  set onChange(listener: () => void) {
    this.#onChange = listener;
  }

  /**
   * A copy of the configuration with the values in their places. Fails, naming the field, with
   * `invalid_configuration` for what is not allowed, `missing_reference` for what is not there, and
   * `unavailable` for a source that is away.
   */
  async resolve(
    definition: ConnectionType,
    project: string,
    config: Record<string, unknown>,
  ): Promise<ResolvedSecrets> {
    const places = secretPlaces(definition, config).flatMap(({ kind, path, value }) => {
      const reference = kind === 'value' ? parseSecretReference(value) : undefined;
      return reference ? [{ path, reference, text: value }] : [];
    });
    if (places.length === 0) return { config };
    const hosts = destinationHosts(definition.type, config);
    const resolved = structuredClone(config);
    const digest = createHmac('sha256', this.#digestKey);
    const values = await Promise.all(
      places.map(async ({ path, reference, text }) => {
        const field = formatFieldPath(path);
        const rules = rulesFor(this.#rules, project, reference, hosts);
        if (rules.length === 0) throw notAllowed(field, text, project, hosts);
        try {
          return usable(await this.#read(reference, rules));
        } catch (error) {
          if (error instanceof AppError) throw new AppError(error.code, `${field}: ${error.message}`);
          throw error;
        }
      }),
    );
    for (const [index, { path }] of places.entries()) {
      setAt(resolved, path, values[index]!);
      digest.update(`${values[index]!.length}:${values[index]!}`);
    }
    return { config: resolved, digest: digest.digest('base64') };
  }

  /** Lets values be read anew, and forgets files that nothing has asked for since `before`, ms since the epoch. */
  refresh(before: number): void {
    this.#vault?.forgetReads();
    this.#files.forget(before);
  }

  close(): void {
    this.#onChange = () => {};
    this.#files.close();
    this.#vault?.close();
  }

  async #read(reference: SecretReference, rules: readonly SecretRule[]): Promise<string> {
    switch (reference.source) {
      case 'env': {
        const value = this.#environment[reference.name];
        if (value === undefined)
          throw new AppError(
            'missing_reference',
            `the worker has no environment variable '${reference.name}'`,
          );
        return value;
      }
      case 'file':
        return this.#files.read(reference.path, rules);
      case 'vault':
        if (!this.#vault)
          throw new AppError(
            'invalid_configuration',
            'this worker has no Vault: its operator sets PLUGBOARD_WORKER_VAULT_ADDR',
          );
        return this.#vault.read(reference.mount, reference.path, reference.key);
    }
  }
}

function usable(value: string): string {
  if (value === '') throw new AppError('missing_reference', 'what is referred to is empty');
  if (value.length > maxLength)
    throw new AppError('invalid_configuration', `what is referred to is longer than ${maxLength} characters`);
  return value;
}

function notAllowed(
  field: string,
  reference: string,
  project: string,
  hosts: readonly string[] | undefined,
): AppError {
  const where = hosts ? `for ${hosts.join(', ')}` : 'for a destination that cannot be told';
  return new AppError(
    'invalid_configuration',
    `${field}: this worker does not allow project '${project}' to use '${reference}' ${where}`,
    { details: { hint: 'The operator of the worker can allow it by PLUGBOARD_WORKER_SECRET_SOURCES.' } },
  );
}

function setAt(root: Record<string, unknown>, path: FieldPath, value: string): void {
  let holder = root as Record<string | number, unknown>;
  for (const step of path.slice(0, -1)) holder = holder[step] as Record<string | number, unknown>;
  holder[path.at(-1)!] = value;
}
