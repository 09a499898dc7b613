import { definitions } from '../../connectors/definitions.ts';
import { AppError } from '../../errors.ts';
import { pageOf } from '../server/list-query.ts';
import type { Queries } from '../store/database.ts';
import { listAllMasked, listMasked } from './connections.store.ts';

export interface ListedConnection {
  name: string;
  masked: string;
}

export interface ListQuery {
  /** One type, several separated by commas, or `*`. */
  type: string;
  page?: string;
  size?: string;
  sort?: string;
  q?: string;
  labels?: string;
}

/**
 * The list answer as JSON text: masked bodies are spliced in as they are stored, which is faster
 * than serialising them again.
 */
export async function listConnections(
  db: Pick<Queries, 'all' | 'get'>,
  projectId: string,
  query: ListQuery,
  visible: (row: ListedConnection) => boolean,
): Promise<string> {
  const wanted = typesOf(query.type);
  let rows: ListedConnection[] =
    wanted?.length === 1
      ? await listMasked(db, projectId, wanted[0]!)
      : (await listAllMasked(db, projectId)).filter(({ type }) => !wanted || wanted.includes(type));
  rows = rows.filter(visible);
  if (query.q || query.labels || sortKey(query.sort)) rows = narrowed(rows, query);
  if (query.sort?.endsWith(',desc')) rows.reverse();
  const total = rows.length;
  if (query.size !== undefined || query.page !== undefined) {
    const { page, size } = pageOf(query);
    rows = rows.slice((page - 1) * size, page * size);
  }
  return `{"success":true,"resultList":[${rows.map(({ masked }) => masked).join(',')}],"resultCount":${total}}`;
}

function typesOf(type: string): string[] | undefined {
  if (type === '*') return undefined;
  const types = [...new Set(type.split(',').map((part) => part.trim()))];
  for (const one of types)
    if (!Object.hasOwn(definitions, one))
      throw new AppError(
        'bad_request',
        `Connection type '${one.slice(0, 64)}' is not known; one of ${Object.keys(definitions).join(', ')}`,
        {
          details: {
            validationErrors: [
              { field: 'type', message: `must be one of ${Object.keys(definitions).join(', ')}` },
            ],
          },
        },
      );
  return types;
}

/** Rows come in order of name already; only another key needs sorting. */
function sortKey(sort: string | undefined): 'type' | undefined {
  return sort?.startsWith('type') ? 'type' : undefined;
}

function narrowed(rows: ListedConnection[], query: ListQuery): ListedConnection[] {
  const needle = query.q?.toLowerCase();
  const labels = query.labels?.split(',').map((pair) => {
    const at = pair.indexOf('=');
    return at < 0 ? [pair.trim(), undefined] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  });
  const bodies = rows.map((row) => ({
    row,
    body: JSON.parse(row.masked) as {
      type: string;
      description: string | null;
      labels: Record<string, string>;
    },
  }));
  const kept = bodies.filter(
    ({ row, body }) =>
      (!needle ||
        row.name.toLowerCase().includes(needle) ||
        (body.description ?? '').toLowerCase().includes(needle)) &&
      (!labels ||
        labels.every(([key, value]) =>
          value === undefined ? Object.hasOwn(body.labels, key!) : body.labels[key!] === value,
        )),
  );
  if (sortKey(query.sort))
    kept.sort((a, b) => (a.body.type < b.body.type ? -1 : a.body.type > b.body.type ? 1 : 0));
  return kept.map(({ row }) => row);
}
