import type { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import { parseJson } from './json-body.ts';

/** One line of a body and what it holds. */
export interface ItemLine {
  /** From 1. */
  line: number;
  item: unknown;
  bytes: number;
}

/** What ends a body early: the line that cannot be taken, and why. */
export interface FaultyLine {
  line: number;
  error: AppError;
}

export const maxLineBytes = 16 * 1024 * 1024;
const lineFeed = 0x0a;

/** Takes a body apart into items, chunk by chunk; blank lines are passed over. */
export class ItemLines {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #begun: Buffer[] = [];
  #begunBytes = 0;
  #line = 0;

  /** The items of the lines that end in this chunk, up to the first that is faulty. */
  push(chunk: Buffer): { items: ItemLine[]; fault?: FaultyLine } {
    const items: ItemLine[] = [];
    let at = 0;
    for (;;) {
      const end = chunk.indexOf(lineFeed, at);
      const part = chunk.subarray(at, end < 0 ? chunk.length : end);
      if (this.#begunBytes + part.length > maxLineBytes)
        return { items, fault: { line: this.#line + 1, error: tooLong() } };
      if (part.length > 0) {
        this.#begun.push(part);
        this.#begunBytes += part.length;
      }
      if (end < 0) return { items };
      const fault = this.#take(items);
      if (fault) return { items, fault };
      at = end + 1;
    }
  }

  /** Number of the line that is being read. */
  get current(): number {
    return this.#line + 1;
  }

  /** The last line, where no line feed ended it. */
  end(): { items: ItemLine[]; fault?: FaultyLine } {
    const items: ItemLine[] = [];
    const fault = this.#begunBytes > 0 ? this.#take(items) : undefined;
    return { items, ...(fault ? { fault } : {}) };
  }

  #take(items: ItemLine[]): FaultyLine | undefined {
    this.#line += 1;
    const bytes = this.#begun.length === 1 ? this.#begun[0]! : Buffer.concat(this.#begun);
    this.#begun = [];
    this.#begunBytes = 0;
    const line = this.#line;
    let text: string;
    try {
      text = this.#decoder.decode(bytes);
    } catch {
      return { line, error: new AppError('bad_request', `Line ${line} is not valid UTF-8`) };
    }
    if (text.trim() === '') return undefined;
    try {
      items.push({ line, item: parseJson(text, `Line ${line}`), bytes: bytes.length });
    } catch (error) {
      return { line, error: error as AppError };
    }
    return undefined;
  }
}

function tooLong(): AppError {
  return new AppError('payload_too_large', `A line is larger than ${maxLineBytes} bytes`);
}

/** A body read chunk by chunk: nothing is read ahead of what is asked for. */
export class BodyChunks {
  readonly #body: Readable;
  readonly #chunks: Buffer[] = [];
  readonly #signal: AbortSignal;
  #state: 'open' | 'ended' | 'broken' = 'open';
  #wake: (() => void) | undefined;

  constructor(body: Readable, signal: AbortSignal) {
    this.#body = body;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
    body.on('data', this.#onData);
    body.once('end', () => this.#settle('ended'));
    body.once('error', () => this.#settle('broken'));
    body.once('close', () => this.#settle('broken'));
  }

  /** The next chunk; `end`, or `pause` when none came for so long. Fails with `cancelled` when the body breaks off, and with the signal's reason. */
  async next(pauseMs?: number): Promise<Buffer | 'end' | 'pause'> {
    if (this.#chunks.length === 0 && this.#state === 'open') {
      this.#body.resume();
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (pauseMs !== undefined) timer = setTimeout(resolve, pauseMs);
      });
      this.#wake = undefined;
      clearTimeout(timer);
    }
    const chunk = this.#chunks.shift();
    if (chunk) return chunk;
    if (this.#state === 'broken') {
      const { reason } = this.#signal;
      throw reason instanceof AppError ? reason : new AppError('cancelled', 'The request broke off');
    }
    return this.#state === 'ended' ? 'end' : 'pause';
  }

  /** Lets the rest pass by unread, so that the client comes to read the answer. */
  discard(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#body.off('data', this.#onData);
    this.#chunks.length = 0;
    this.#body.resume();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk);
    this.#body.pause();
    this.#wake?.();
  };

  readonly #onAbort = (): void => {
    this.#chunks.length = 0;
    this.#settle('broken');
  };

  #settle(state: 'ended' | 'broken'): void {
    if (this.#state === 'open') this.#state = state;
    this.#wake?.();
  }
}
