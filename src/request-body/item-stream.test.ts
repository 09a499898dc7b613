import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { after, before, beforeEach, describe, test } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { defineOperation } from '../contract/connection-type.ts';
import { AppError, errorBody } from '../errors.ts';
import { answerItemStream, isItemStream, registerItemStreams } from './item-stream.ts';

const operation = defineOperation({
  title: 'Put',
  description: 'Puts items.',
  stream: { items: 'things', results: 'done' },
  input: Type.Object({ to: Type.Optional(Type.String()), things: Type.Array(Type.Unknown()) }),
  output: Type.Unknown(),
});

interface Line {
  type: string;
  line?: number;
  lastLine?: number;
  success?: boolean;
  accepted?: number;
  failed?: number;
  error?: string;
  error_description?: string;
  validation_errors?: { field: string; message: string }[];
  result?: unknown;
}

const ndjson = { 'content-type': 'application/x-ndjson' };
const both = { ...ndjson, accept: 'application/x-ndjson' };

describe('a stream of items', () => {
  let app: FastifyInstance;
  let url: string;
  /** What the operation was given, batch by batch. */
  let batches: { to?: string; things: unknown[] }[] = [];
  let run: (input: { things: unknown[] }, signal: AbortSignal) => Promise<unknown>;
  let aborts = 0;

  before(async () => {
    app = Fastify({ forceCloseConnections: true });
    registerItemStreams(app);
    app.setErrorHandler((error, request, reply) => {
      assert.ok(error instanceof AppError, String(error));
      return reply.status(error.entry.status).send(errorBody(error, request.id));
    });
    app.post<{ Querystring: { input?: string } }>('/:name', async (request, reply) => {
      const { name } = request.params as { name: string };
      const schema = name === 'put' ? operation : { ...operation, stream: undefined as never };
      if (!isItemStream(request, name, schema)) return { success: true };
      const controller = new AbortController();
      reply.raw.once('close', () => {
        if (reply.raw.writableFinished) return;
        aborts += 1;
        controller.abort();
      });
      return answerItemStream(request, reply, {
        name,
        operation,
        input: request.query.input,
        run: (input) => {
          batches.push(structuredClone(input) as never);
          return run(input as never, controller.signal);
        },
        log: { error: (fields, message) => assert.fail(`${message} ${JSON.stringify(fields)}`) },
        signal: controller.signal,
        timeoutMs: 300,
      });
    });
    url = await app.listen({ host: '127.0.0.1', port: 0 });
  });
  beforeEach(() => {
    batches = [];
    aborts = 0;
    run = async ({ things }) => ({ done: things.map((thing) => ({ got: thing })) });
  });
  after(() => app.close());

  const lines = (items: unknown[]) => items.map((item) => `${JSON.stringify(item)}\n`).join('');
  const send = (body: string | Uint8Array, headers: Record<string, string> = both, path = '/put') =>
    fetch(`${url}${path}`, { method: 'POST', headers, body: body as string });
  const sent = async (body: string | Uint8Array): Promise<Line[]> =>
    (await (await send(body)).text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
  const put = () => batches.flatMap(({ things }) => things);

  test('one line an item, what became of each in order, blank lines counted and passed over', async () => {
    const answer = await sent('{"n":1}\n\n{"n":2}\r\n  \n"three"');
    assert.deepEqual(answer, [
      { type: 'item', line: 1, success: true, result: { got: { n: 1 } } },
      { type: 'item', line: 3, success: true, result: { got: { n: 2 } } },
      { type: 'item', line: 5, success: true, result: { got: 'three' } },
      { type: 'finished', success: true, accepted: 3, failed: 0 },
    ]);
    assert.deepEqual(await sent(''), [{ type: 'finished', success: true, accepted: 0, failed: 0 }]);
  });

  test('without accepting lines: one JSON answer', async () => {
    run = async ({ things }) => ({
      done: things.map((thing) => (thing === 2 ? { error: { code: 'request_rejected' } } : {})),
    });
    const response = await send(lines([1, 2]), ndjson);
    assert.match(response.headers.get('content-type')!, /^application\/json/);
    assert.deepEqual(await response.json(), {
      success: true,
      result: {
        results: [
          { line: 1, success: true, result: {} },
          { line: 2, success: false, result: { error: { code: 'request_rejected' } } },
        ],
        accepted: 1,
        failed: 1,
      },
    });
  });

  test('fields beside the items come by the query', async () => {
    const beside = (value: string) => `/put?input=${encodeURIComponent(value)}`;
    await send(lines([1]), both, beside('{"to":"there"}'));
    assert.deepEqual(batches, [{ to: 'there', things: [1] }]);
    for (const wrong of ['{"things":[1]}', '[1]', 'null', '{'])
      assert.equal((await send(lines([1]), both, beside(wrong))).status, 400, wrong);
    assert.equal(batches.length, 1);
  });

  test('what cannot be taken is named by its line; what stands before it has been applied, nothing after', async () => {
    const cases: [string | Uint8Array, string, RegExp][] = [
      ['{broken', 'bad_request', /^Line 3 is not valid JSON$/],
      [`${'['.repeat(200)}${']'.repeat(200)}`, 'bad_request', /^Line 3 is nested deeper/],
      ['{"__proto__":{"admin":true}}', 'bad_request', /^Line 3 has a field named __proto__/],
      [Buffer.from([0x22, 0xff, 0x22]), 'bad_request', /^Line 3 is not valid UTF-8$/],
      [`"${'x'.repeat(17 * 1024 * 1024)}"`, 'payload_too_large', /larger than 16777216 bytes/],
    ];
    for (const [line, error, description] of cases) {
      batches = [];
      const body = Buffer.concat([Buffer.from('1\n2\n'), Buffer.from(line), Buffer.from('\n4\n')]);
      const answer = await sent(body);
      assert.deepEqual(
        answer.map(({ type, line: at }) => [type, at]),
        [
          ['item', 1],
          ['item', 2],
          ['error', 3],
          ['finished', undefined],
        ],
      );
      assert.deepEqual([answer[2]!.error, answer[3]!.success, answer[3]!.accepted], [error, false, 2]);
      assert.match(answer[2]!.error_description!, description);
      assert.deepEqual(put(), [1, 2]);

      const whole = await send(body, ndjson);
      const { request_id: _, ...told } = (await whole.json()) as Line & { request_id: string };
      assert.equal(whole.status, error === 'bad_request' ? 400 : 413);
      assert.deepEqual([told.error, told.line], [error, 3]);
      assert.equal((told.result as Line).accepted, 2);
    }
  });

  test('before anything was applied it is an ordinary error', async () => {
    for (const headers of [both, ndjson]) {
      const response = await send('{broken\n1\n', headers);
      assert.equal(response.status, 400);
      assert.match(response.headers.get('content-type')!, /^application\/json/);
      assert.match(((await response.json()) as Line).error_description!, /^Line 1 is not valid JSON/);
    }
    assert.deepEqual(batches, []);
    assert.equal((await send('1\n', { ...both, 'idempotency-key': 'k' })).status, 400);
    assert.equal((await send('1\n', both, '/other')).status, 415);
  });

  test('an item that the operation refuses is named by its line; the batch before it is applied without it', async () => {
    run = async ({ things }) => {
      const at = things.indexOf('bad');
      if (at < 0) return { done: things.map(() => ({})) };
      const faults = [
        { field: `things[${at}].size`, message: 'is too big' },
        { field: `things[${at + 1}].size`, message: 'is not looked at' },
      ];
      throw new AppError('bad_request', 'no', { details: { validationErrors: faults } });
    };
    const answer = await sent(lines([1, 2, 'bad', 4]));
    assert.deepEqual(
      answer.map(({ type, line }) => [type, line]),
      [
        ['item', 1],
        ['item', 2],
        ['error', 3],
        ['finished', undefined],
      ],
    );
    assert.equal(answer[2]!.error_description, 'Line 3: size is too big');
    assert.deepEqual(answer[2]!.validation_errors, [{ field: 'size', message: 'is too big' }]);
    assert.deepEqual(
      batches.map(({ things }) => things),
      [
        [1, 2, 'bad', 4],
        [1, 2],
      ],
    );
    assert.equal((await send(lines(['bad']))).status, 400);
  });

  test('a batch that fails says which lines, and ends the stream', async () => {
    run = async ({ things }) => {
      if (things.includes(1001)) throw new AppError('connection_lost');
      return { done: things.map(() => ({})) };
    };
    const answer = await sent(lines(Array.from({ length: 2500 }, (_, n) => n + 1)));
    const failed = answer.at(-2)!;
    assert.deepEqual([failed.type, failed.error, failed.line], ['error', 'target_error', 1001]);
    assert.ok(failed.lastLine! >= 1001 && failed.lastLine! <= 2000, String(failed.lastLine));
    assert.match(failed.error_description!, /^Lines 1001 to \d+: The connection was closed by the target$/);
    assert.deepEqual(answer.at(-1), { type: 'finished', success: false, accepted: 1000, failed: 0 });
  });

  test('a full buffer slows the stream down and loses nothing', async () => {
    let room = 0;
    const refill = setInterval(() => {
      room = 50;
    }, 5);
    const stored: unknown[] = [];
    run = async ({ things }) => {
      // Alternately refuses a batch as a whole, and takes what it has room for.
      if (batches.length % 2 === 0 && things.length > room) throw new AppError('buffer_full');
      return {
        done: things.map((thing) => {
          if (room <= 0) return { error: { code: 'buffer_full' } };
          room -= 1;
          stored.push(thing);
          return {};
        }),
      };
    };
    const items = Array.from({ length: 500 }, (_, n) => n);
    const answer = await sent(lines(items));
    clearInterval(refill);
    assert.deepEqual(answer.at(-1), { type: 'finished', success: true, accepted: 500, failed: 0 });
    assert.deepEqual(stored, items, 'in order, each once');
  });

  test('a buffer that stays full is an error after the deadline', async () => {
    run = async () => {
      throw new AppError('buffer_full');
    };
    const response = await send(lines([1, 2]));
    assert.equal(response.status, 503);
    assert.equal(((await response.json()) as { reason: string }).reason, 'buffer_full');
  });

  /** A request whose body is written bit by bit. */
  async function open(headers: Record<string, string> = both) {
    const outgoing = httpRequest(`${url}/put`, { method: 'POST', headers });
    outgoing.on('error', () => {});
    const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
    answered.catch(() => {});
    outgoing.flushHeaders();
    return { outgoing, answered };
  }

  test('items are passed on and answered while the body is still being sent', async () => {
    const { outgoing, answered } = await open();
    outgoing.write('1\n2');
    const [response] = await answered;
    const [first] = (await once(response, 'data')) as [Buffer];
    assert.equal(first.toString(), '{"type":"item","line":1,"success":true,"result":{"got":1}}\n');
    outgoing.write('2\n');
    const [second] = (await once(response, 'data')) as [Buffer];
    assert.match(second.toString(), /"line":2,"success":true,"result":\{"got":22\}/);
    outgoing.end();
    const [last] = (await once(response, 'data')) as [Buffer];
    assert.equal(last.toString(), '{"type":"finished","success":true,"accepted":2,"failed":0}\n');
  });

  test('no more is read than is passed on: a slow target holds the client back', async () => {
    let release: () => void = () => {};
    const held = new Promise<void>((go) => (release = go));
    const begun = new Promise<void>((resolve) => {
      run = async ({ things }) => {
        resolve();
        await held;
        return { done: things.map(() => ({})) };
      };
    });
    const { outgoing, answered } = await open();
    const line = `${JSON.stringify('x'.repeat(1022))}\n`;
    const mebibyte = line.repeat(1024);
    let written = 0;
    outgoing.write(mebibyte);
    await begun;
    // Writes until the connection takes no more, which it does long before the 200 MiB.
    while (written < 200) {
      written += 1;
      if (!outgoing.write(mebibyte)) {
        const drained = await Promise.race([
          once(outgoing, 'drain').then(() => true),
          new Promise<false>((resolve) => setTimeout(() => resolve(false), 500)),
        ]);
        if (!drained) break;
      }
    }
    assert.ok(written < 24, `${written} MiB were taken`);
    assert.ok(batches.length === 1 && Buffer.byteLength(JSON.stringify(batches)) < 2 * 1024 * 1024);
    outgoing.destroy();
    release();
    await assert.rejects(answered);
    while (aborts === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test('a client that goes away stops it', async () => {
    let cancelled: () => void = () => {};
    const stopped = new Promise<void>((resolve) => (cancelled = resolve));
    run = (_input, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          cancelled();
          reject(new AppError('cancelled'));
        });
        leave();
      });
    const { outgoing } = await open();
    const leave = () => outgoing.destroy();
    outgoing.write(lines([1, 2]));
    await stopped;
    assert.equal(aborts, 1);
    assert.equal(batches.length, 1);
  });

  test('after an error the rest of the body is let pass, and the connection goes on', async () => {
    const response = await send(`{broken\n${'x'.repeat(30 * 1024 * 1024)}`);
    assert.equal(response.status, 400);
    assert.equal((await send(lines([1]))).status, 200);
  });

  test('results of millions of items do not fill the memory where the answer is one JSON', async () => {
    run = async ({ things }) => ({ done: things.map(() => ({ text: 'y'.repeat(1000) })) });
    const response = await send('1\n'.repeat(20_000), ndjson);
    const { result } = (await response.json()) as {
      result: { accepted: number; omitted: number; results: unknown[] };
    };
    assert.equal(result.accepted, 20_000);
    assert.ok(result.omitted > 0 && result.results.length + result.omitted === 20_000);
  });
});
