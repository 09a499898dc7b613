import { areAllowed } from '../../connectors/destination-hosts.ts';
import type { SecretReference } from '../../contract/reference-syntax.ts';
import { AppError } from '../../errors.ts';

/** One line of PLUGBOARD_WORKER_SECRET_SOURCES: what one project may read, and where it may send it. */
export interface SecretRule {
  /** `*`: every project. */
  readonly project: string;
  /** Beginning of `env/NAME`, `file/PATH` or `vault/MOUNT/PATH#KEY`. */
  readonly prefix: string;
  /** Without a `*` at its end an entry names one secret, or one path of Vault with all its keys. */
  readonly isExact: boolean;
  readonly hosts: readonly string[];
}

/**
 * Reads `PROJECT SOURCE HOST…`, such as `MyProject vault/secret/myproject/* *.corp.example`; a name with
 * spaces stands in double quotes. Throws `invalid_configuration` for an entry that cannot be read.
 */
export function parseSecretRule(entry: string): SecretRule {
  const words = [...entry.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
  const [project, source, ...hosts] = words;
  const fault = (why: string) =>
    new AppError('invalid_configuration', `PLUGBOARD_WORKER_SECRET_SOURCES: '${entry.trim()}' ${why}`);
  if (!project || !source || hosts.length === 0)
    throw fault(
      'must be a project, a source and at least one host, such as: MyProject env/DB_* *.corp.example',
    );
  const isExact = !source.endsWith('*');
  const prefix = isExact ? source : source.slice(0, -1);
  if (!/^(env|file|vault)\//.test(prefix) || prefix.includes('*'))
    throw fault("has a source that does not begin with env/, file/ or vault/, or has a '*' before its end");
  return { project, prefix, isExact, hosts };
}

/** The rules by which a project may send the referred secret to every one of the hosts. */
export function rulesFor(
  rules: readonly SecretRule[],
  project: string,
  reference: SecretReference,
  hosts: readonly string[] | undefined,
): SecretRule[] {
  const source = sourceOf(reference);
  if (source === undefined) return [];
  return rules.filter(
    (rule) =>
      (rule.project === '*' || rule.project === project) &&
      matches(rule, source) &&
      (rule.hosts.includes('*') || (hosts?.length ? areAllowed(hosts, rule.hosts) : false)),
  );
}

function matches({ prefix, isExact }: SecretRule, source: string): boolean {
  if (!isExact) return source.startsWith(prefix);
  return source === prefix || (prefix.startsWith('vault/') && source.startsWith(`${prefix}#`));
}

/** A reference as rules spell it; undefined for one that nobody may use. */
function sourceOf(reference: SecretReference): string | undefined {
  if (reference.source === 'env')
    // Our own variables hold the keys of everything.
    return reference.name.toUpperCase().startsWith('PLUGBOARD_') ? undefined : `env/${reference.name}`;
  const path = reference.source === 'file' ? reference.path : `${reference.mount}/${reference.path}`;
  if (path.split('/').some((segment) => segment === '' || segment === '.' || segment === '..'))
    return undefined;
  return reference.source === 'file' ? `file/${path}` : `vault/${path}#${reference.key}`;
}
