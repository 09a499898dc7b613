import { Worker } from 'node:worker_threads';
import { AppError } from '../../errors.ts';
import type { OdbcConnection, OdbcCursor, OdbcModule, OdbcResult } from './odbc-module.ts';

/** What the thread answers a request with. */
export interface ThreadAnswer {
  id: number;
  rows?: Record<string, unknown>[];
  count?: number;
  columns?: OdbcResult['columns'];
  /** The answer is a cursor of this number; the rows are fetched. */
  cursor?: number;
  noData?: boolean;
  error?: { message: string; odbcErrors?: unknown; isMissing?: boolean };
}

export type ThreadRequest = { id: number } & (
  | { kind: 'connect'; options: { connectionString: string; loginTimeout: number } }
  | { kind: 'query'; sql: string; parameters: unknown[]; fetchSize?: number }
  | { kind: 'fetch'; cursor: number }
  | { kind: 'closeCursor'; cursor: number }
  | { kind: 'close' }
);
/** A request without its number. */
type Asked = ThreadRequest extends infer R ? (R extends { id: number } ? Omit<R, 'id'> : never) : never;

/**
 * The package `odbc`, each connection in a thread of its own: some of its calls wait for the server in
 * the thread that makes them, which would keep ours from passing the bytes they wait for. `path` is
 * the module to load there.
 */
export function threadedOdbc(path: string): OdbcModule {
  return {
    async connect(options) {
      const thread = new OdbcThread(path);
      try {
        await thread.ask({ kind: 'connect', options });
      } catch (error) {
        thread.end();
        throw error;
      }
      return thread.connection();
    },
  };
}

class OdbcThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<ThreadAnswer>>();
  #last = 0;
  #isOver = false;

  constructor(path: string) {
    this.#worker = new Worker(new URL('./odbc-thread.main.ts', import.meta.url), { workerData: path });
    this.#worker.on('message', (answer: ThreadAnswer) => {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (!answer.error) return waiting?.resolve(answer);
      const { message, odbcErrors, isMissing } = answer.error;
      waiting?.reject(
        isMissing
          ? new AppError('driver_missing', `the package odbc cannot be loaded: ${message}`)
          : Object.assign(new Error(message), { odbcErrors }),
      );
    });
    this.#worker.on('error', () => this.end());
    this.#worker.on('exit', () => this.end());
  }

  async ask(asked: Asked): Promise<ThreadAnswer> {
    if (this.#isOver) throw new AppError('connection_lost');
    const id = ++this.#last;
    const waiting = Promise.withResolvers<ThreadAnswer>();
    this.#waiting.set(id, waiting);
    this.#worker.postMessage({ id, ...asked } satisfies ThreadRequest);
    return waiting.promise;
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const { reject } of this.#waiting.values()) reject(new AppError('connection_lost'));
    this.#waiting.clear();
    void this.#worker.terminate();
  }

  connection(): OdbcConnection {
    const query = async (sql: string, parameters: unknown[], options?: { fetchSize: number }) => {
      const fetchSize = options ? { fetchSize: options.fetchSize } : {};
      const answer = await this.ask({ kind: 'query', sql, parameters, ...fetchSize });
      return answer.cursor === undefined ? resultOf(answer) : this.#cursor(answer.cursor);
    };
    return {
      query: query as OdbcConnection['query'],
      close: async () => {
        try {
          await this.ask({ kind: 'close' });
        } finally {
          this.end();
        }
      },
    };
  }

  #cursor(cursor: number): OdbcCursor {
    let noData = false;
    return {
      get noData() {
        return noData;
      },
      fetch: async () => {
        const answer = await this.ask({ kind: 'fetch', cursor });
        noData = answer.noData === true;
        return resultOf(answer);
      },
      close: async () => {
        await this.ask({ kind: 'closeCursor', cursor });
      },
    };
  }
}

function resultOf({ rows = [], count = -1, columns }: ThreadAnswer): OdbcResult {
  return Object.assign(rows, { count, ...(columns ? { columns } : {}) });
}
