import type { ConnectionType } from '../../../src/contract/connection-type.ts';
import { credentialParts } from '../../../src/contract/credential-url.ts';
import type { JsonSchema } from '../../../src/contract/definition-schema.ts';
import type { FieldPath } from '../../../src/contract/field-path.ts';
import { isMask } from '../../../src/contract/masking.ts';
import { isReference } from '../../../src/contract/reference-syntax.ts';
import { secretPlaces } from '../../../src/contract/secret-places.ts';
import type { Body } from './form-schema.ts';

/** A request that writes a connection. */
export interface WriteRequest {
  method: 'POST' | 'PUT';
  url: string;
  body: Body;
}

/** Writes a text as the inside of a JSON string; for what a variable of the shell holds. */
const jsonFunction = String.raw`json() { printf '%s\n' "$1" | awk '{ gsub(/[\\"]/, "\\\\&"); gsub(/\t/, "\\t"); gsub(/\r/, "\\r"); printf "%s%s", (NR > 1 ? "\\n" : ""), $0 }'; }`;

/**
 * The request for a POSIX shell. The token is $PLUGBOARD_TOKEN; each secret of the body is a variable
 * of its own, named after its field, and not in the text; references are none.
 */
export function curlCommand({ method, url, body }: WriteRequest, published: JsonSchema): string {
  const secrets = secretsOf(body, published);
  const given = structuredClone(body);
  const text = JSON.stringify(body);
  let mark = '@secret';
  while (text.includes(mark)) mark += '@';
  for (const [index, { path }] of secrets.entries()) place(given, path, `${mark}${index}.`);
  const quoted = singleQuoted(JSON.stringify(given, null, 2)).replaceAll(
    new RegExp(`${mark}(\\d+)\\.`, 'g'),
    (_, index: string) => `'"$(json "$${secrets[Number(index)]!.variable}")"'`,
  );
  return [
    ...['PLUGBOARD_TOKEN', ...secrets.map(({ variable }) => variable)].map((name) => `: "\${${name}:?}"`),
    ...(secrets.length > 0 ? [jsonFunction] : []),
    `printf %s ${quoted} |`,
    `  curl --fail-with-body -X ${method} ${singleQuoted(url)} \\`,
    '    -H "Authorization: Bearer $PLUGBOARD_TOKEN" \\',
    "    -H 'Content-Type: application/json' \\",
    '    --data-binary @-',
  ].join('\n');
}

function secretsOf(body: Body, published: JsonSchema): { path: FieldPath; variable: string }[] {
  // What says where a type keeps its secrets is in the published fields as it is in the definition's.
  const definition = { fields: published.properties } as unknown as ConnectionType;
  const used = new Set<string>();
  return secretPlaces(definition, body)
    .filter(({ kind, value, wholePath }) =>
      kind === 'value'
        ? !isReference(value)
        : credentialParts(value, wholePath).some(({ start, end }) => !isMask(value.slice(start, end))),
    )
    .map(({ path }) => {
      const name = path
        .map((step) => String(step).replaceAll(/(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+/g, '_'))
        .join('_')
        .toUpperCase();
      let variable = `SECRET_${name}`;
      while (used.has(variable)) variable += '_';
      used.add(variable);
      return { path, variable };
    });
}

/** A word of the shell that is this text and nothing else. */
export function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function place(root: Body, path: FieldPath, value: string): void {
  let holder: Record<string | number, unknown> = root;
  for (const step of path.slice(0, -1)) holder = holder[step] as Record<string | number, unknown>;
  holder[path.at(-1)!] = value;
}
