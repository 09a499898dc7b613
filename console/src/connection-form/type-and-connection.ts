import type { Connection, ListAnswer, Plugboard } from '../../../client/plugboard.ts';
import type { JsonSchema } from '../../../src/contract/definition-schema.ts';
import { parsePointer } from '../../../src/contract/field-path.ts';
import type { Body } from './form-schema.ts';

/** What the form needs to know of a type. */
export interface TypeDescription {
  type: string;
  title: string;
  summary: string;
  notes: string[];
  schema: JsonSchema;
}

/** A connection as it is stored, without its secrets. */
export interface StoredConnection {
  body: Body;
  etag: string;
  /** Top-level fields that hold a secret. */
  secrets: ReadonlySet<string>;
}

/** Reads a type. */
export async function fetchType(plugboard: Plugboard, type: string): Promise<TypeDescription> {
  return (await plugboard.describeType(type)) as unknown as TypeDescription;
}

/** Reads a connection; its secrets stay where they are, whatever the token may. */
export async function fetchStored(
  plugboard: Plugboard,
  project: string,
  name: string,
  signal?: AbortSignal,
): Promise<StoredConnection> {
  const { answer, headers } = await plugboard.exchange<ListAnswer<Connection> & { storedSecrets: string[] }>(
    'GET',
    `/apiops/projects/${encodeURIComponent(project)}/connections/${encodeURIComponent(name)}/`,
    { query: { reveal: false }, ...(signal ? { signal } : {}) },
  );
  return {
    body: answer.resultList[0]!,
    etag: headers.get('etag') ?? '',
    secrets: new Set(
      answer.storedSecrets
        .map(parsePointer)
        .filter((steps) => steps.length === 1)
        .map(([field]) => field!),
    ),
  };
}
