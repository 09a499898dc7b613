import type { ConnectionType } from './connection-type.ts';
import { credentialParts } from './credential-url.ts';
import { allFields, innerSchema, type JsonSchema } from './definition-schema.ts';
import { type FieldPath, formatFieldPath } from './field-path.ts';
import {
  escapedVariable,
  hasVariable,
  parseSecretReference,
  variableOf,
  variablesIn,
  variableTemplate,
} from './reference-syntax.ts';
import { secretPlaces } from './secret-places.ts';

export interface References {
  /** `secret`: the variable is the whole of a secret, so it may be one that is not visible. */
  variables: { field: string; name: string; secret: boolean }[];
  secrets: { field: string; reference: string }[];
  objects: { field: string; kind: 'keystore' | 'certificate'; name: string }[];
}

const objectFields: Readonly<Record<string, 'keystore' | 'certificate'>> = {
  keyStoreName: 'keystore',
  trustStoreName: 'keystore',
  certificateName: 'certificate',
};

/** Everything outside the connection that a configuration refers to. */
export function findReferences(definition: ConnectionType, config: Record<string, unknown>): References {
  const found: References = { variables: [], secrets: [], objects: [] };
  // Most configurations refer to nothing, and every change asks several times.
  if (mayRefer(config))
    eachString(definition, config, {
      plain(text, path) {
        for (const name of variablesIn(text))
          found.variables.push({ field: formatFieldPath(path), name, secret: false });
        return text;
      },
      secret(text, path) {
        const name = variableOf(text);
        if (name !== undefined) found.variables.push({ field: formatFieldPath(path), name, secret: true });
        if (parseSecretReference(text)) found.secrets.push({ field: formatFieldPath(path), reference: text });
        return text;
      },
    });
  for (const [field, kind] of Object.entries(objectFields)) {
    const name = config[field];
    if (typeof name === 'string' && name !== '' && !hasVariable(name))
      found.objects.push({ field, kind, name });
  }
  return found;
}

function mayRefer(value: unknown): boolean {
  if (typeof value === 'string') return value.includes('${') || value.includes('secret://');
  if (typeof value !== 'object' || value === null) return false;
  for (const name in value) if (mayRefer((value as Record<string, unknown>)[name])) return true;
  return false;
}

/**
 * Puts the values of variables in their places, numbers and switches as such. A value that is not
 * of its field's type stays text, for the validation of the resolved form to refuse. Values are
 * not interpolated again; `secret://` stays for the worker.
 */
export function resolveVariables(
  definition: ConnectionType,
  config: Record<string, unknown>,
  lookup: (name: string) => string | undefined,
):
  | { config: Record<string, unknown>; missing?: undefined }
  | { missing: { field: string; name: string }[]; config?: undefined } {
  const missing: { field: string; name: string }[] = [];
  const valueFor = (name: string, path: FieldPath): string => {
    const value = lookup(name);
    if (value !== undefined) return value;
    missing.push({ field: formatFieldPath(path), name });
    return '';
  };
  const resolved = eachString(definition, config, {
    plain(text, path, schema) {
      const name = variableOf(text);
      if (name !== undefined && schema.type !== 'string') return typed(valueFor(name, path), schema);
      return text.replaceAll(variableTemplate, (match, name: string) =>
        match.startsWith('$$') ? match.slice(1) : valueFor(name, path),
      );
    },
    secret(text, path) {
      const name = variableOf(text);
      if (name !== undefined) return valueFor(name, path);
      return escapedVariable.test(text) ? text.slice(1) : text;
    },
  });
  return missing.length > 0 ? { missing } : { config: resolved };
}

/** A copy that refers to a variable by its new name, and is the same in all else. */
export function renameVariable(
  definition: ConnectionType,
  config: Record<string, unknown>,
  from: string,
  to: string,
): Record<string, unknown> {
  return eachString(definition, config, {
    plain: (text) =>
      text.replaceAll(variableTemplate, (match, name: string) =>
        match.startsWith('$$') || name !== from ? match : `\${${to}}`,
      ),
    secret: (text) => (variableOf(text) === from ? `\${${to}}` : text),
    keepsReferences: true,
  });
}

function typed(value: string, schema: JsonSchema): unknown {
  const type = schema.type;
  if ((type === 'integer' || type === 'number') && /^-?\d{1,16}(\.\d+)?$/.test(value)) return Number(value);
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true';
  return value;
}

interface StringVisitor {
  plain(text: string, path: FieldPath, schema: JsonSchema): unknown;
  /** A whole secret, or one credential part of a URL. */
  secret(text: string, path: FieldPath): string;
  /** What it makes of a reference is a reference, which is not encoded where a value would be. */
  keepsReferences?: true;
}

/** A copy of a configuration with every string replaced by what the visitor makes of it. */
function eachString(
  definition: ConnectionType,
  config: Record<string, unknown>,
  visitor: StringVisitor,
): Record<string, unknown> {
  const secrets = new Map(
    secretPlaces(definition, config).map((place) => [formatFieldPath(place.path), place] as const),
  );
  const visit = (value: unknown, schema: JsonSchema | undefined, path: FieldPath): unknown => {
    if (typeof value === 'string') {
      const place = secrets.get(formatFieldPath(path));
      if (!place) return visitor.plain(value, path, schema ?? { type: 'string' });
      if (place.kind === 'value') return visitor.secret(value, path);
      return inParts(value, place.wholePath, path, visitor);
    }
    if (Array.isArray(value)) return value.map((item, index) => visit(item, schema?.items, [...path, index]));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        name,
        visit(item, innerSchema(schema, name), [...path, name]),
      ]),
    );
  };
  const fields = allFields(definition);
  return Object.fromEntries(
    Object.entries(config).map(([name, value]) => [
      name,
      name === 'type' || name === 'name' ? value : visit(value, fields[name], [name]),
    ]),
  );
}

function inParts(url: string, wholePath: boolean, path: FieldPath, visitor: StringVisitor): string {
  let result = '';
  let at = 0;
  const plain = (text: string) => String(visitor.plain(text, path, { type: 'string' }));
  for (const part of credentialParts(url, wholePath)) {
    const value = url.slice(part.start, part.end);
    result += plain(url.slice(at, part.start));
    const replaced = visitor.secret(value, path);
    result += visitor.keepsReferences || variableOf(value) === undefined ? replaced : part.encode(replaced);
    at = part.end;
  }
  return result + plain(url.slice(at));
}
