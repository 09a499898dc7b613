// The global is a getter, whose calls would be felt by the fastest operations.
import { performance } from 'node:perf_hooks';
import { type CallContext, type Logger, untilAborted } from '../connectors/connector.ts';
import { AppError } from '../errors.ts';
import { type ClientCall, type LiveClient, type Operate, toClientError } from './live-client.ts';
import type { Scrubbing } from './scrubbing.ts';
import { isOff, type Serving, type Slot } from './slot.ts';

export interface OperateOptions {
  timeoutMs: number;
  /** Whoever asks: the operation is cancelled when that one is gone. */
  asker?: CallContext | undefined;
}

/** Makes what is answered of a result. */
type Deliver<Result> = (scrubbing: Scrubbing, result: unknown) => Result;

interface Surroundings {
  log: Logger;
  /** Operations in flight on one connection. */
  concurrency: number;
  onFailure(client: LiveClient, error: AppError): void;
}

interface OperationCallParts<Result> {
  surroundings: Surroundings;
  serving: Serving;
  slot: Slot;
  operate: Operate;
  input: unknown;
  timeoutMs: number;
  asker: CallContext | undefined;
  /** The breaker's. */
  leave: ((failure?: AppError) => void) | undefined;
  deliver: Deliver<Result>;
}

/** An operation that is running. A class, because its functions, made anew for each, would be felt. */
class OperationCall<Result> implements ClientCall<unknown, Result> {
  readonly timeoutMs: number;
  readonly asker: CallContext | undefined;
  readonly began = performance.now();
  readonly #parts: OperationCallParts<Result>;

  constructor(parts: OperationCallParts<Result>) {
    this.timeoutMs = parts.timeoutMs;
    this.asker = parts.asker;
    this.#parts = parts;
  }

  work(live: unknown, context: CallContext): Promise<unknown> {
    const { operate, input } = this.#parts;
    return operate(live, input, context);
  }

  ended(): void {
    this.#parts.slot.inFlight -= 1;
  }

  fulfilled(result: unknown): Result {
    const { deliver, serving } = this.#parts;
    const answer = deliver(serving.client.prepared.scrubbing, result);
    this.#over();
    return answer;
  }

  failed(error: unknown): AppError {
    const { serving, surroundings } = this.#parts;
    const failure = toClientError(error, serving.client.prepared, surroundings.log);
    this.#over(failure);
    return failure;
  }

  #over(failure?: AppError): void {
    const { leave, slot, serving, surroundings } = this.#parts;
    const { client, proof } = serving;
    leave?.(failure);
    const endedAt = performance.now();
    slot.health.noteOperation(!failure, endedAt - this.began);
    if (failure) {
      slot.health.noteError(failure, Date.now());
      surroundings.onFailure(client, failure);
    }
    if (!client.isClosing) proof.noteOperation(failure, endedAt);
  }
}

/** Runs operations on what serves a connection, within its limits. */
export class OperationRuns {
  readonly #surroundings: Surroundings;
  #stopping = false;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  /** From now on every operation fails with `unavailable`. */
  stop(): void {
    this.#stopping = true;
  }

  /** As `LiveConnections.operate`. */
  run<Result>(
    slot: Slot | undefined,
    operation: string,
    input: unknown,
    options: OperateOptions,
    deliver: Deliver<Result>,
  ): Promise<Result> {
    if (slot && !slot.serving && slot.desired && slot.working)
      return this.#runOnceOpen(slot, operation, input, options, deliver);
    // Not `async`, whose promise would follow the client's for three more turns of each call.
    try {
      return this.#runNow(slot, operation, input, options, deliver);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #runOnceOpen<Result>(
    slot: Slot,
    operation: string,
    input: unknown,
    { timeoutMs, asker }: OperateOptions,
    deliver: Deliver<Result>,
  ): Promise<Result> {
    const startedAt = performance.now();
    await opened(slot, timeoutMs, asker);
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startedAt));
    return this.#runNow(slot, operation, input, { timeoutMs: leftMs, asker }, deliver);
  }

  /** Awaits nothing before the client counts the call: a replacement in between would close it. */
  #runNow<Result>(
    slot: Slot | undefined,
    operation: string,
    input: unknown,
    { timeoutMs, asker }: OperateOptions,
    deliver: Deliver<Result>,
  ): Promise<Result> {
    const serving = this.#servingOf(slot);
    const { client } = serving;
    const held = slot!;
    const { concurrency } = this.#surroundings;
    const called = client.operation(operation);
    if (!called) {
      const { type, operations } = client.prepared.definition;
      const names = Object.keys(operations).join(', ') || 'none';
      throw new AppError('not_found', `Operation '${operation}' was not found; ${type} has ${names}`);
    }
    called.check(input);
    if (held.inFlight >= concurrency)
      throw new AppError('target_busy', `${held.inFlight} operations of this connection are running already`);
    const leave = client.breaker.enter();
    held.inFlight += 1;
    // Its promise is the answer: one more for each call would be felt by the fastest connectors.
    return client.run(
      new OperationCall({
        surroundings: this.#surroundings,
        serving,
        slot: held,
        operate: called.operate,
        input,
        timeoutMs,
        asker,
        leave,
        deliver,
      }),
    );
  }

  #servingOf(slot: Slot | undefined): Serving {
    if (this.#stopping) throw new AppError('unavailable', 'The worker is stopping');
    if (slot?.serving && slot.desired && !isOff(slot.desired)) return slot.serving;
    if (slot?.desired && slot.refused) {
      const { revision, reason } = slot.refused;
      throw new AppError(
        'not_active',
        `The connection is not active: this worker refused revision ${revision.revision} (${reason.message})`,
      );
    }
    throw new AppError('not_active');
  }
}

/** Waits for a first client that is being opened, within the operation's own time. */
async function opened(slot: Slot, timeoutMs: number, asker?: CallContext): Promise<void> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = asker?.signal;
  try {
    await untilAborted({ signal: signal ? AbortSignal.any([signal, deadline]) : deadline }, slot.working!);
  } catch {
    if (signal?.aborted) throw signal.reason instanceof AppError ? signal.reason : new AppError('cancelled');
    throw new AppError('target_timeout', `The client was not open within ${timeoutMs} ms`);
  }
}

/** What of a result may leave the worker. */
export function resultOf(scrubbing: Scrubbing, result: unknown): unknown {
  try {
    return scrubbing.result(result);
  } catch (error) {
    throw noJson(error);
  }
}

/** As `resultOf`, as a JSON text. */
export function jsonOf(scrubbing: Scrubbing, result: unknown): string {
  try {
    return scrubbing.json(result);
  } catch (error) {
    throw noJson(error);
  }
}

function noJson(cause: unknown): AppError {
  return new AppError('internal_error', 'The result of the operation is no JSON', { cause });
}
