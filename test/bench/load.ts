import { connect, type Socket } from 'node:net';
import { endWithParent } from './process.ts';

/** What to send: `{n}` in path and body stands for the number of the request. */
export interface LoadOrder {
  port: number;
  method: string;
  path: string;
  token?: string;
  body?: string;
  /** Requests in flight, each on a kept-alive connection of its own. */
  connections: number;
  /** How long to go on starting requests; or `count` of them. */
  durationMs?: number;
  count?: number;
  /** Number of the first request; they count up, or are drawn from `range` when it is given. */
  from?: number;
  range?: number;
  /** Whether the client keeps its core awake between answers when several are in flight; default true. */
  staysAwake?: boolean;
  /** Text that every answer must contain. */
  expect?: string;
}

export interface LoadResult {
  requests: number;
  failed: number;
  /** Start of the first bad answer. */
  firstFailure?: string;
  perSecond: number;
  /** Median and 95th percentile of the answers' latency, ms. */
  p50Ms: number;
  p95Ms: number;
}

/**
 * How long many clients keep their core awake for the next answer, ms: to wake it would cost the server more
 * than to answer. Longer than a commit, so that row by row it never sleeps; a server that answers in groups
 * has the core for its own threads meanwhile.
 */
const maxAwakeMs = 0.5;

/** Raw sockets: parsing only what delimits an answer leaves the server as the bottleneck. */
function run(order: LoadOrder): Promise<LoadResult> {
  const { connections, range, expect } = order;
  const latencies: number[] = [];
  const startedAt = performance.now();
  const endsAt = order.durationMs === undefined ? Number.POSITIVE_INFINITY : startedAt + order.durationMs;
  const limit = order.count ?? Number.POSITIVE_INFINITY;
  let next = order.from ?? 0;
  let started = 0;
  let failed = 0;
  let firstFailure: string | undefined;
  let lastAnswerAt = startedAt;
  /** The last good answer in one piece, where all are to be the same and are looked through. */
  let good: Buffer | undefined;

  const head = [
    `host: 127.0.0.1:${order.port}`,
    ...(order.token ? [`authorization: Bearer ${order.token}`] : []),
    ...(order.body === undefined ? [] : ['content-type: application/json']),
  ].join('\r\n');

  const compose = (number: string): string => {
    const path = order.path.replaceAll('{n}', number);
    const body = order.body?.replaceAll('{n}', number);
    const length =
      body === undefined
        ? order.method === 'GET'
          ? ''
          : 'content-length: 0\r\n'
        : `content-length: ${Buffer.byteLength(body)}\r\n`;
    return `${order.method} ${path} HTTP/1.1\r\n${head}\r\n${length}\r\n${body ?? ''}`;
  };
  const isNumbered = order.path.includes('{n}') || order.body?.includes('{n}');
  const same = isNumbered ? undefined : Buffer.from(compose(''));
  const request = (): string | Buffer => {
    started += 1;
    return same ?? compose(String(range === undefined ? next++ : Math.floor(Math.random() * range)));
  };

  const converse = () =>
    new Promise<void>((resolve, reject) => {
      const socket: Socket = connect({
        port: order.port,
        host: '127.0.0.1',
        noDelay: true,
        // Past the stream, whose part would be a third of what this client costs.
        onread: {
          buffer: Buffer.alloc(64 * 1024),
          callback: (count, buffer) => {
            received(Buffer.from(buffer.buffer, buffer.byteOffset, count));
            return true;
          },
        },
      });
      let sentAt = 0;
      let waiting: Buffer | undefined;
      let bodyLeft = 0;
      let bad = false;
      let sample: Buffer[] = [];

      const send = () => {
        if (started >= limit || performance.now() >= endsAt) {
          socket.end();
          resolve();
          return;
        }
        const sent = request();
        sentAt = performance.now();
        socket.write(sent);
      };
      const answered = () => {
        lastAnswerAt = performance.now();
        latencies.push(lastAnswerAt - sentAt);
        stayAwake();
      };
      const judge = (isOnePiece: boolean) => {
        answered();
        const seen = sample.length === 1 ? sample[0]! : Buffer.concat(sample);
        if (expect !== undefined && !bad && !seen.includes(expect)) bad = true;
        if (bad) {
          failed += 1;
          firstFailure ??= seen.subarray(0, 600).toString();
        } else if (isOnePiece && same && expect !== undefined) good = Buffer.from(seen);
        sample = [];
        send();
      };

      /** The chunk is overwritten by the next one. */
      const received = (chunk: Buffer) => {
        // The same to the byte: to look closer would take the core from the server.
        if (bodyLeft === 0 && !waiting && good?.equals(chunk)) {
          answered();
          send();
          return;
        }
        if (bodyLeft > 0) {
          if (sample.length < 2) sample.push(Buffer.from(chunk));
          bodyLeft -= chunk.length;
          if (bodyLeft === 0) judge(false);
          return;
        }
        const data = waiting ? Buffer.concat([waiting, chunk]) : chunk;
        const end = data.indexOf('\r\n\r\n');
        if (end < 0) {
          waiting = Buffer.from(data);
          return;
        }
        waiting = undefined;
        const header = data.toString('latin1', 0, end);
        const status = Number(header.slice(9, 12));
        const length = /\r\ncontent-length: (\d+)/i.exec(header)?.[1];
        bad = status < 200 || status > 299 || length === undefined;
        bodyLeft = Number(length ?? 0) - (data.length - end - 4);
        sample.push(bodyLeft === 0 ? data : Buffer.from(data));
        if (bodyLeft === 0) judge(data === chunk);
      };
      socket.on('connect', send);
      socket.on('error', reject);
      socket.on('close', () => resolve());
    });

  let busy = connections > 1 && order.staysAwake !== false;
  let awake = false;
  const spin = () => {
    awake = busy && performance.now() - lastAnswerAt < maxAwakeMs;
    if (awake) setImmediate(spin);
  };
  const stayAwake = () => {
    if (!awake) spin();
  };

  return Promise.all(Array.from({ length: connections }, converse)).then(() => {
    busy = false;
    latencies.sort((a, b) => a - b);
    return {
      requests: latencies.length,
      failed,
      ...(firstFailure === undefined ? {} : { firstFailure }),
      perSecond: (latencies.length - failed) / ((lastAnswerAt - startedAt) / 1000),
      p50Ms: latencies[Math.floor(latencies.length * 0.5)] ?? Number.NaN,
      p95Ms: latencies[Math.floor(latencies.length * 0.95)] ?? Number.NaN,
    };
  });
}

process.on('message', (order: LoadOrder) => {
  run(order).then(
    (result) => process.send?.({ result }),
    (error: Error) => process.send?.({ error: error.message }),
  );
});
endWithParent();
process.send?.({ ready: true });
