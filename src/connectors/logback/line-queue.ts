import { setImmediate as breathe } from 'node:timers/promises';
import { AppError } from '../../errors.ts';
import { type CallContext, isAborted } from '../connector.ts';
import type { RollingFile } from './rolling-file.ts';

/** What became of the lines of one call. */
export interface Appended {
  written: number;
  /** The file of the last. */
  file: string;
}

interface Waiting {
  readonly lines: readonly string[];
  readonly context: CallContext;
  resolve(appended: Appended): void;
  reject(error: unknown): void;
}

/** Most lines of calls that are written together, unless one call has more. */
const maxLinesTogether = 10_000;
const breatheEveryMs = 5;

/** The calls of one rolling file in order; those that come while a write is going on share the next one. */
export class LineQueue {
  readonly #file: RollingFile;
  #waiting: Waiting[] = [];
  #running = 0;
  #draining: Promise<void> | undefined;
  #isClosed = false;
  #breathedAt = 0;

  constructor(file: RollingFile) {
    this.#file = file;
  }

  get figures(): { openFiles: number; waiting: number } {
    return { openFiles: this.#file.isOpen ? 1 : 0, waiting: this.#waiting.length + this.#running };
  }

  /** The file that a line would go into now. */
  get activePath(): string {
    return this.#file.activePath;
  }

  throwIfClosed(): void {
    if (this.#isClosed) throw closedError();
  }

  /** Writes the lines of one call, all or none. An aborted call writes nothing. */
  append(lines: readonly string[], context: CallContext): Promise<Appended> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ lines, context, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  /** Fails what waits, ends what is being written in order, and closes the file. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#draining;
    await this.#file.close();
  }

  async #drain(): Promise<void> {
    // Behind the turn of whoever calls first, so that calls of one turn are written together.
    await undefined;
    while (this.#waiting.length > 0) {
      const together = this.#take();
      if (this.#writeNow(together)) {
        // Answered without a turn of the loop, a caller could call for ever and nobody else have one.
        if (performance.now() - this.#breathedAt < breatheEveryMs) continue;
      } else {
        this.#running = together.length;
        await this.#write(together);
        this.#running = 0;
        if (together.length === 1) continue;
      }
      // Whoever was answered may have the next line at hand.
      await breathe();
      this.#breathedAt = performance.now();
    }
    this.#draining = undefined;
  }

  /** The next calls that are still to be written. */
  #take(): Waiting[] {
    const together: Waiting[] = [];
    let count = 0;
    let at = 0;
    for (; at < this.#waiting.length; at++) {
      const call = this.#waiting[at]!;
      if (together.length > 0 && count + call.lines.length > maxLinesTogether) break;
      if (this.#isClosed) call.reject(closedError());
      else if (isAborted(call.context)) call.reject(call.context.signal.reason);
      else {
        together.push(call);
        count += call.lines.length;
      }
    }
    this.#waiting = at < this.#waiting.length ? this.#waiting.slice(at) : [];
    return together;
  }

  /** Whether they could be written in place. */
  #writeNow(together: readonly Waiting[]): boolean {
    try {
      const file = this.#file.appendNow(together);
      if (file === undefined) return false;
      for (const { lines, resolve } of together) resolve({ written: lines.length, file });
      return true;
    } catch (error) {
      for (const { reject } of together) reject(error);
      return true;
    }
  }

  async #write(together: readonly Waiting[]): Promise<void> {
    if (together.length === 0) return;
    try {
      const files = await this.#file.append(together.map(({ lines }) => lines));
      for (const [at, { lines, resolve }] of together.entries())
        resolve({ written: lines.length, file: files[at]! });
    } catch (error) {
      if (together.length === 1 || this.#file.isTorn) for (const { reject } of together) reject(error);
      // Nothing of them is in the file: each has its own chance, and its own error.
      else
        for (const call of together)
          if (isAborted(call.context)) call.reject(call.context.signal.reason);
          else await this.#write([call]);
    }
  }
}

function closedError(): AppError {
  return new AppError('cancelled', 'The connection was closed');
}
