import { AppError } from '../../errors.ts';
import { end, type HttpConnection } from './http-connections.ts';

export type HeaderLines = [name: string, value: string][];

export interface ExchangeRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly body?: Buffer;
}

export interface ExchangeLimits {
  /** From sending until the answer has arrived whole. */
  readonly timeoutMs: number;
  readonly maxBodyBytes: number;
}

export interface Answer {
  status: number;
  /** Names in lower case; a header that was sent twice has two values. */
  headers: Record<string, string[]>;
  body: Buffer;
  /** Whether the body was longer than the limit. */
  truncated: boolean;
}

/**
 * One request on a connection that nobody else uses. After a failure, and after a body that was cut
 * off, the connection is closed. Fails with `target_timeout`, with the signal's reason, or with what
 * undici reports.
 */
export function exchange(
  connection: HttpConnection,
  request: ExchangeRequest,
  { timeoutMs, maxBodyBytes }: ExchangeLimits,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let answer: Answer | undefined;
    let isSettled = false;

    const settle = () => {
      isSettled = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    const succeed = (truncated: boolean) => {
      if (isSettled || !answer) return;
      settle();
      resolve({ ...answer, body: Buffer.concat(chunks), truncated });
    };
    const fail = (error: unknown) => {
      if (isSettled) return;
      settle();
      void end(connection, new AppError('cancelled'));
      reject(error);
    };
    const onAbort = () => fail(signal.reason);
    const timer = setTimeout(
      () => fail(new AppError('target_timeout', `No complete answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) return onAbort();

    connection.client.dispatch(
      {
        path: `${request.url.pathname}${request.url.search}`,
        method: request.method,
        headers: request.headers.flat(),
        body: request.body ?? null,
      },
      {
        onRequestStart() {},
        onResponseStart(_controller, status, headers) {
          // 103 and other interim answers come before the one that counts.
          if (status >= 200)
            answer = { status, headers: valueLists(headers), body: Buffer.alloc(0), truncated: false };
        },
        onResponseData(_controller, chunk) {
          if (isSettled) return;
          const room = maxBodyBytes - size;
          // A copy, because the chunk is a view of the parser's own buffer.
          if (room > 0) chunks.push(Buffer.from(chunk.subarray(0, room)));
          size += chunk.length;
          if (size <= maxBodyBytes) return;
          succeed(true);
          void end(connection, new AppError('cancelled'));
        },
        onResponseEnd() {
          succeed(false);
        },
        onResponseError(_controller, error) {
          fail(error);
        },
      },
    );
  });
}

function valueLists(headers: Record<string, string | string[] | undefined>): Record<string, string[]> {
  const lists = Object.entries(headers).map(
    ([name, value]) => [name.toLowerCase(), [value ?? ''].flat()] as const,
  );
  return Object.fromEntries(lists);
}
