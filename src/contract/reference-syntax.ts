const NAME = '[A-Za-z_][A-Za-z0-9_]*';

/** Pattern of a text that is exactly one `${NAME}`. */
export const VARIABLE_PATTERN = `^\\$\\{${NAME}\\}$`;

const wholeVariable = new RegExp(`^\\$\\{(${NAME})\\}$`);
/** `$${NAME}`: the literal text `${NAME}`. */
export const escapedVariable = new RegExp(`^\\$\\$\\{${NAME}\\}$`);
/** Every `${NAME}` and `$${NAME}` of a template. */
export const variableTemplate = new RegExp(`\\$?\\$\\{(${NAME})\\}`, 'g');

export type SecretReference =
  | { source: 'env'; name: string }
  | { source: 'file'; path: string }
  | { source: 'vault'; mount: string; path: string; key: string };

/** The variable of a text that is exactly one `${NAME}`. */
export function variableOf(text: string): string | undefined {
  return wholeVariable.exec(text)?.[1];
}

/** Names of the variables in a template; `$${NAME}` is literal and names none. */
export function variablesIn(text: string): string[] {
  const names: string[] = [];
  if (!text.includes('${')) return names;
  for (const [match, name] of text.matchAll(variableTemplate)) if (!match.startsWith('$$')) names.push(name!);
  return names;
}

/** Whether a text's final value is known only once variables are resolved. */
export function hasVariable(value: unknown): boolean {
  return typeof value === 'string' && variablesIn(value).length > 0;
}

/** Reads `secret://env/NAME`, `secret://file/PATH` or `secret://vault/MOUNT/PATH#KEY`; undefined for anything else. */
export function parseSecretReference(text: string): SecretReference | undefined {
  // Nearly every secret, several times on its way.
  if (!text.startsWith('secret://')) return undefined;
  const match = /^secret:\/\/(env|file|vault)\/([^\p{Cc}]+)$/u.exec(text);
  if (!match) return undefined;
  const [, source, rest] = match as unknown as [string, string, string];
  if (source === 'env')
    return /^[A-Za-z_][A-Za-z0-9_]*$/.test(rest) ? { source: 'env', name: rest } : undefined;
  if (source === 'file') return { source: 'file', path: rest };
  const vault = /^([^/#]+)\/([^#]+)#([^#]+)$/.exec(rest);
  return vault ? { source: 'vault', mount: vault[1]!, path: vault[2]!, key: vault[3]! } : undefined;
}

/** Whether a secret's text is a reference and not the secret itself. */
export function isReference(text: string): boolean {
  return wholeVariable.test(text) || text.startsWith('secret://');
}
