import type { InputOf } from '../../contract/connection-type.ts';
import { AppError, type FieldFault } from '../../errors.ts';
import type { BulkOutcome, BulkWrite } from './bulk-buffer.ts';
import { type ElasticFailure, failureOf } from './elastic-answer.ts';
import type { ElasticRequest } from './elastic-cluster.ts';
import type { elasticsearch } from './elasticsearch.definition.ts';

type Operations = (typeof elasticsearch)['operations'];
export type IndexInput = InputOf<Operations['index']>;
export type BulkInput = InputOf<Operations['bulk']>;
export type SearchInput = InputOf<Operations['search']>;

/** `/{index}/_doc/{id}` and its like; fails with `bad_request`, naming the field. */
export function indexRequest(input: IndexInput, defaultIndex: string | null | undefined): ElasticRequest {
  const { id, opType = 'index', refresh, routing, pipeline } = input;
  const index = writableIndex('index', input.index ?? defaultIndex);
  if (id === '.' || id === '..') throw refuse('id', 'cannot be part of a path; write it with bulk');
  const query = parameters({
    refresh,
    routing,
    pipeline,
    ...(id || opType === 'index' ? {} : { op_type: opType }),
  });
  const resource = opType === 'create' && id ? '_create' : '_doc';
  return {
    method: id ? 'PUT' : 'POST',
    path: `/${encodeURIComponent(index)}/${resource}${id ? `/${encodeURIComponent(id)}` : ''}${query}`,
    body: input.document,
    repeatable: id !== undefined && opType === 'index',
  };
}

/** Every write as the lines that `_bulk` takes; fails with `bad_request`, naming each field that is wrong. */
export function bulkWrites({ actions }: BulkInput, defaultIndex: string | null | undefined): BulkWrite[] {
  const faults: FieldFault[] = [];
  // Writes of one call have the same head as a rule.
  let usual: { action: string; index: string | null | undefined; wrong?: string; head: string } | undefined;
  const writes = actions.map(({ action = 'index', index: given, id, routing, document }, at): BulkWrite => {
    const fault = (name: string, message: string) =>
      faults.push({ field: `actions[${at}].${name}`, message });
    const index = given ?? defaultIndex;
    if (usual?.action !== action || usual.index !== index) {
      const wrong = indexFault(index, false);
      const head = JSON.stringify({ [action]: { _index: index } });
      usual = { action, index, head, ...(wrong ? { wrong } : {}) };
    }
    if (usual.wrong) fault('index', usual.wrong);
    if (id === undefined && (action === 'update' || action === 'delete')) fault('id', `${action} needs one`);
    if (action === 'delete' && document) fault('document', 'delete takes none');
    if (action !== 'delete' && !document) fault('document', `${action} needs one`);
    const head =
      id === undefined && !routing
        ? usual.head
        : JSON.stringify({ [action]: { _index: index, _id: id, ...(routing ? { routing } : {}) } });
    const body = action === 'update' ? { doc: document } : document;
    const lines = action === 'delete' ? `${head}\n` : `${head}\n${JSON.stringify(body)}\n`;
    return {
      lines,
      bytes: Buffer.byteLength(lines),
      repeatable: id !== undefined && action !== 'create',
    };
  });
  if (faults.length > 0)
    throw new AppError('bad_request', `${faults[0]!.field} ${faults[0]!.message}`, {
      details: { validationErrors: faults.slice(0, 100) },
    });
  return writes;
}

/** One `_bulk` request; its answer is cut down to what outcomes are made of. */
export function bulkRequest(writes: readonly BulkWrite[]): ElasticRequest {
  const kept = ['_index', '_id', 'status', 'result', 'error.type', 'error.reason'];
  return {
    method: 'POST',
    path: `/_bulk?filter_path=${kept.map((name) => `items.*.${name}`).join(',')}`,
    body: Buffer.from(writes.map(({ lines }) => lines).join('')),
    repeatable: writes.every(({ repeatable }) => repeatable),
  };
}

export interface BulkAnswer {
  items?: Record<
    string,
    { _index?: string; _id?: string; status: number; result?: string; error?: ElasticFailure }
  >[];
}

/** The outcome of each write; fails with `protocol_error` when the answer has not one for each. */
export function bulkOutcomes({ items = [] }: BulkAnswer, count: number): BulkOutcome[] {
  if (items.length !== count)
    throw new AppError('protocol_error', `The answer has ${items.length} results for ${count} writes`);
  return items.map((item) => {
    const { _index: index, _id: id, status, result, error } = theOne(item);
    if (index && id && result && !error) return { index, id, status, result };
    return {
      ...(index ? { index } : {}),
      ...(id ? { id } : {}),
      status,
      ...(result ? { result } : {}),
      ...(error ? { error: failureOf(status, error) } : {}),
    };
  });
}

/** What an item of an answer says, under the name of its action. */
function theOne<Value>(item: Record<string, Value>): Value {
  for (const action in item) return item[action]!;
  throw new AppError('protocol_error', 'The answer has a result that says nothing');
}

/** `/{index}/_search`; fails with `bad_request` when nothing says where to search. */
export function searchRequest(input: SearchInput, defaultIndex: string | null | undefined): ElasticRequest {
  const index = input.index ?? defaultIndex;
  const wrong = indexFault(index, true);
  if (wrong) throw refuse('index', wrong);
  const { query, from, size, sort, searchAfter, sourceIncludes, aggregations, trackTotalHits, timeoutMs } =
    input;
  const body = {
    query: query ?? { match_all: {} },
    ...(from === undefined ? {} : { from }),
    ...(size === undefined ? {} : { size }),
    ...(sort ? { sort } : {}),
    ...(searchAfter ? { search_after: searchAfter } : {}),
    ...(sourceIncludes ? { _source: { includes: sourceIncludes } } : {}),
    ...(aggregations ? { aggregations } : {}),
    ...(trackTotalHits ? { track_total_hits: true } : {}),
    ...(timeoutMs === undefined ? {} : { timeout: `${timeoutMs}ms` }),
  };
  return {
    method: 'POST',
    path: `/${encodeURIComponent(index!)}/_search`,
    body,
    repeatable: true,
    // The shards answer by then with what they have; that answer has to arrive as well.
    ...(timeoutMs === undefined ? {} : { timeoutMs: timeoutMs + 30_000 }),
  };
}

export interface SearchAnswer {
  took: number;
  timed_out: boolean;
  hits: {
    total?: { value: number; relation: string } | number;
    hits: {
      _index: string;
      _id: string;
      _score: number | null;
      _source?: Record<string, unknown>;
      sort?: unknown[];
    }[];
  };
  aggregations?: Record<string, unknown>;
}

/** The hits of a search as a result carries them. */
export function searchResult({ took, timed_out, hits, aggregations }: SearchAnswer) {
  const { total = 0 } = hits;
  return {
    total: typeof total === 'number' ? total : total.value,
    totalIsLowerBound: typeof total !== 'number' && total.relation === 'gte',
    tookMs: took,
    timedOut: timed_out,
    hits: hits.hits.map(({ _index, _id, _score, _source, sort }) => ({
      index: _index,
      id: _id,
      score: _score,
      ...(_source ? { source: _source } : {}),
      ...(sort ? { sort } : {}),
    })),
    ...(aggregations ? { aggregations } : {}),
  };
}

function writableIndex(field: string, index: string | null | undefined): string {
  const wrong = indexFault(index, false);
  if (wrong) throw refuse(field, wrong);
  return index!;
}

/** What is wrong with the name of an index that becomes part of a path; an API's own name must not pass for one. */
function indexFault(index: string | null | undefined, many: boolean): string | undefined {
  if (!index) return 'is needed, because the connection has no indexName';
  if (index === '.' || index === '..') return 'is no name of an index';
  if (index.startsWith('_') && !(many && index === '_all')) return 'must not start with _';
  if (!many && /[*,]/.test(index)) return 'must name one index to write to';
  return undefined;
}

function parameters(given: Record<string, string | undefined>): string {
  const set = Object.entries(given).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return set.length > 0 ? `?${new URLSearchParams(set)}` : '';
}

function refuse(field: string, message: string): AppError {
  return new AppError('bad_request', `${field} ${message}`, {
    details: { validationErrors: [{ field, message }] },
  });
}
