import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { OperationSchema } from '../contract/connection-type.ts';
import { acceptsNdjson, isNdjson, NDJSON } from '../contract/ndjson.ts';
import { AppError, errorBody } from '../errors.ts';
import { loggableError } from '../loggable-error.ts';
import { BodyChunks, type FaultyLine, type ItemLine, ItemLines } from './item-lines.ts';
import { parseJson } from './json-body.ts';

const maxBatchItems = 1000;
const maxBatchBytes = 1024 * 1024;
/** A body that pauses for so long has what came of it passed on. */
const pauseMs = 20;
const firstWaitMs = 20;
const longestWaitMs = 500;
/** What an answer that is no stream may hold of results. */
const maxResultBytes = 16 * 1024 * 1024;

type Input = Record<string, unknown>;

export interface ItemStreamRequest {
  /** Name and schema of the operation. */
  name: string;
  operation: OperationSchema;
  /** Query parameter `input`: JSON of the fields of the input beside the items. */
  input: string | undefined;
  /** Runs the operation with one batch; a batch that fails with `buffer_full` or `bad_request` has not been begun. */
  run(input: Input): Promise<unknown>;
  log: { error(fields: object, message: string): void };
  /** Aborted when the client has gone, or may not go on: with the error to answer. */
  signal: AbortSignal;
  /** For how long a full buffer is waited for. */
  timeoutMs: number;
}

interface ItemOutcome {
  line: number;
  success: boolean;
  result?: unknown;
}

interface StreamEnd {
  accepted: number;
  failed: number;
  fault?: FaultyLine & { lastLine: number };
}

/** Lets the body of an operation be a stream of items; other routes go on refusing that. */
export function registerItemStreams(app: FastifyInstance): void {
  app.addContentTypeParser(NDJSON, (_request, body, done) => done(null, body));
}

/** Whether the body is a stream of items; fails with `unsupported_media_type` where the operation takes none. */
export function isItemStream(request: FastifyRequest, name: string, operation: OperationSchema): boolean {
  if (!isNdjson(request.headers['content-type'])) return false;
  if (!operation.stream)
    throw new AppError('unsupported_media_type', `The operation ${name} takes one JSON object, not NDJSON`);
  return true;
}

/**
 * Passes the items of an NDJSON body on in batches, one after the other, and answers what became of
 * each (an item for which a buffer had no room is passed on again, after others of its batch): as NDJSON while it goes on, or at the end as JSON. What ends it before anything was passed
 * on is an ordinary error.
 */
export async function answerItemStream(
  request: FastifyRequest,
  reply: FastifyReply,
  options: ItemStreamRequest,
): Promise<unknown> {
  if (request.headers['idempotency-key'] !== undefined)
    throw new AppError('bad_request', 'Idempotency-Key cannot be used with a streamed body');
  const outcomes = passOn(request.body as Readable, options);
  const first = await outcomes.next();
  if (first.done && first.value.fault && first.value.accepted + first.value.failed === 0)
    throw first.value.fault.error;
  if (acceptsNdjson(request.headers.accept))
    return reply
      .type(NDJSON)
      .header('x-accel-buffering', 'no')
      .send(Readable.from(answerLines(outcomes, first, request, options.log)));
  return answerWhole(outcomes, first, request, reply);
}

type Outcomes = AsyncGenerator<ItemOutcome[], StreamEnd>;
type Step = IteratorResult<ItemOutcome[], StreamEnd>;

async function* answerLines(
  outcomes: Outcomes,
  first: Step,
  request: FastifyRequest,
  log: ItemStreamRequest['log'],
): AsyncGenerator<string> {
  try {
    let step = first;
    for (; !step.done; step = await outcomes.next())
      yield step.value.map((outcome) => `${JSON.stringify({ type: 'item', ...outcome })}\n`).join('');
    const { fault, accepted, failed } = step.value;
    if (fault) yield `${JSON.stringify({ type: 'error', ...faultBody(fault, request) })}\n`;
    yield `${JSON.stringify({ type: 'finished', success: !fault && failed === 0, accepted, failed })}\n`;
  } catch (error) {
    log.error({ reqId: request.id, err: loggableError(error) }, 'a stream of items failed in an unknown way');
    yield `${JSON.stringify({ type: 'error', ...errorBody(new AppError('internal_error'), request.id) })}\n`;
  } finally {
    await outcomes.return({ accepted: 0, failed: 0 });
  }
}

async function answerWhole(
  outcomes: Outcomes,
  first: Step,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const results: string[] = [];
  let bytes = 0;
  let omitted = 0;
  let step = first;
  for (; !step.done; step = await outcomes.next())
    for (const outcome of step.value) {
      const text = JSON.stringify(outcome);
      if (bytes + text.length > maxResultBytes) omitted += 1;
      else {
        results.push(text);
        bytes += text.length + 1;
      }
    }
  const { accepted, failed, fault } = step.value;
  const counts = JSON.stringify({ accepted, failed, ...(omitted > 0 ? { omitted } : {}) });
  const result = `{"results":[${results.join(',')}],${counts.slice(1)}`;
  reply.type('application/json; charset=utf-8');
  if (!fault) return reply.send(`{"success":true,"result":${result}}`);
  const body = JSON.stringify(faultBody(fault, request));
  return reply.status(fault.error.entry.status).send(`${body.slice(0, -1)},"result":${result}}`);
}

function faultBody({ error, line, lastLine }: NonNullable<StreamEnd['fault']>, request: FastifyRequest) {
  return { ...errorBody(error, request.id), line, ...(lastLine === line ? {} : { lastLine }) };
}

/** Yields what became of the items of each batch. */
async function* passOn(body: Readable, options: ItemStreamRequest): Outcomes {
  const chunks = new BodyChunks(body, options.signal);
  const lines = new ItemLines();
  const batches = new Batches(options);
  const batch: ItemLine[] = [];
  let bytes = 0;
  try {
    for (;;) {
      let chunk: Buffer | 'end' | 'pause';
      try {
        chunk = await chunks.next(batch.length > 0 ? pauseMs : undefined);
      } catch (error) {
        return batches.end({ line: batch[0]?.line ?? lines.current, error: error as AppError });
      }
      let fault: FaultyLine | undefined;
      if (chunk !== 'pause') {
        const found = chunk === 'end' ? lines.end() : lines.push(chunk);
        fault = found.fault;
        for (const item of found.items) {
          batch.push(item);
          bytes += item.bytes;
          if (batch.length < maxBatchItems && bytes < maxBatchBytes) continue;
          yield* batches.apply(batch.splice(0));
          bytes = 0;
          if (batches.fault) return batches.end();
        }
      }
      if (chunk !== 'pause' && chunk !== 'end' && !fault) continue;
      if (batch.length > 0) yield* batches.apply(batch.splice(0));
      bytes = 0;
      if (batches.fault || chunk === 'end' || fault) return batches.end(fault);
    }
  } finally {
    chunks.discard();
  }
}

class Batches {
  readonly #options: ItemStreamRequest;
  readonly #items: string;
  readonly #results: string | undefined;
  readonly #beside: Input;
  #accepted = 0;
  #failed = 0;
  /** Items of one call: fewer once a buffer had no room for more, then gradually more again. */
  #size = maxBatchItems;
  fault: StreamEnd['fault'] | undefined;

  constructor(options: ItemStreamRequest) {
    this.#options = options;
    const { items, results } = options.operation.stream!;
    this.#items = items;
    this.#results = results;
    this.#beside = readBeside(options.input, items);
  }

  end(faulty?: FaultyLine): StreamEnd {
    const fault = this.fault ?? (faulty ? { ...faulty, lastLine: faulty.line } : undefined);
    return { accepted: this.#accepted, failed: this.#failed, ...(fault ? { fault } : {}) };
  }

  /** Runs the operation until every item has been taken or refused, or sets `fault`. */
  async *apply(batch: readonly ItemLine[]): AsyncGenerator<ItemOutcome[], void> {
    const { run, signal, timeoutMs } = this.#options;
    let left = batch;
    let waitMs = firstWaitMs;
    let stuckSince: number | undefined;
    while (left.length > 0 && !this.fault) {
      const part = left.slice(0, this.#size);
      let output: unknown;
      let full: AppError | undefined;
      try {
        output = await run({ ...this.#beside, [this.#items]: part.map(({ item }) => item) });
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        const at = faultyItem(error, this.#items, part.length);
        if (error.code === 'buffer_full') full = error;
        else if (at === undefined) this.#stop(error, part);
        else {
          // The others of the batch are as they should be: those before it are sent without it.
          if (at > 0) yield* this.apply(part.slice(0, at));
          if (!this.fault) this.#stop(error, [part[at]!], at);
        }
      }
      if (this.fault) return;
      const refused: ItemLine[] = [];
      if (full) refused.push(...part);
      else {
        const outcomes = this.#outcomes(output, part, refused);
        if (outcomes.length > 0) yield outcomes;
      }
      left = [...refused, ...left.slice(part.length)];
      if (refused.length === 0) {
        this.#size = Math.min(maxBatchItems, Math.ceil(this.#size * 1.1));
        waitMs = firstWaitMs;
        stuckSince = undefined;
        continue;
      }
      // The target is slower than the client: less at once, and not before there may be room.
      if (refused.length < part.length) stuckSince = undefined;
      stuckSince ??= Date.now();
      if (Date.now() - stuckSince >= timeoutMs)
        return this.#stop(full ?? new AppError('buffer_full'), refused);
      this.#size = Math.max(1, Math.floor(part.length / 2));
      await sleep(waitMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return this.#stop(new AppError('cancelled'), refused);
      waitMs = Math.min(longestWaitMs, waitMs * 2);
    }
  }

  /** Leaves out the items for which a buffer had no room, and adds them to `refused`. */
  #outcomes(output: unknown, part: readonly ItemLine[], refused: ItemLine[]): ItemOutcome[] {
    const listed = this.#results === undefined ? undefined : (output as Input)[this.#results];
    const results = Array.isArray(listed) && listed.length === part.length ? listed : undefined;
    const outcomes: ItemOutcome[] = [];
    for (const [at, item] of part.entries()) {
      const result = results?.[at] as { error?: { code?: string } } | undefined;
      if (result?.error?.code === 'buffer_full') {
        refused.push(item);
        continue;
      }
      const success = !result?.error;
      if (success) this.#accepted += 1;
      else this.#failed += 1;
      outcomes.push({ line: item.line, success, ...(result ? { result } : {}) });
    }
    return outcomes;
  }

  #stop(error: AppError, of: readonly ItemLine[], at?: number): void {
    const [line, lastLine] = [of[0]!.line, of.at(-1)!.line];
    const where = line === lastLine ? `Line ${line}` : `Lines ${line} to ${lastLine}`;
    const prefix = `${this.#items}[${at}]`;
    const faults = at === undefined ? undefined : error.details.validationErrors;
    const named = faults
      ?.filter(({ field }) => belongsTo(field, prefix))
      .map(({ field, message }) => ({
        field: field.slice(prefix.length).replace(/^\./, '') || 'item',
        message,
      }));
    const message = named
      ? named.map(({ field, message: text }) => `${field} ${text}`).join('; ')
      : error.message;
    this.fault = {
      line,
      lastLine,
      error: new AppError(error.code, `${where}: ${message}`, {
        cause: error,
        details: { ...error.details, ...(named ? { validationErrors: named } : {}) },
      }),
    };
  }
}

/** Index of the first item of a batch that a fault is in. */
function faultyItem(error: AppError, items: string, count: number): number | undefined {
  if (error.code !== 'bad_request') return undefined;
  const indexes = (error.details.validationErrors ?? []).flatMap(({ field }) => {
    const found = field.startsWith(`${items}[`) ? /^\[(\d+)\]/.exec(field.slice(items.length)) : null;
    return found && Number(found[1]) < count ? [Number(found[1])] : [];
  });
  return indexes.length > 0 ? Math.min(...indexes) : undefined;
}

function belongsTo(field: string, prefix: string): boolean {
  return field === prefix || field.startsWith(`${prefix}.`) || field.startsWith(`${prefix}[`);
}

function readBeside(text: string | undefined, items: string): Input {
  if (text === undefined) return {};
  const value = parseJson(text, 'The query parameter input');
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Object.hasOwn(value, items))
    throw new AppError(
      'bad_request',
      `The query parameter input must be a JSON object of the fields beside ${items}`,
      { details: { validationErrors: [{ field: 'input', message: `must be an object without ${items}` }] } },
    );
  return value as Input;
}
