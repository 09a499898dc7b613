import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/errors.ts';
import { createNetwork } from '../../src/worker/egress.ts';
import { createEgressPolicy } from '../../src/worker/egress-policy.ts';
import { type FuzzRequest, fuzzRequests, type OpenApiDocument } from '../harness/fuzz-requests.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

// The same requests each time, so that a red run is red for everybody; another seed looks elsewhere.
const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_122);
const count = Number(process.env['FUZZ_REQUESTS'] ?? 20_000);
const atOnce = 24;

const statusOf = new Map<string, Set<number>>();
for (const [code, entry] of Object.entries(ERRORS)) {
  const published = 'error' in entry ? entry.error : code;
  statusOf.set(published, (statusOf.get(published) ?? new Set()).add(entry.status));
}
const errorFields = new Set([
  'error',
  'error_description',
  'reason',
  'validation_errors',
  'retryable',
  'stage',
  'hint',
  'retry_after',
  'request_id',
]);
const innards =
  /\n\s+at |node:internal|node_modules|\.ts:\d+|SQLITE|ERR_SQLITE|\b(select|insert into|update|delete from) [a-z_, ]+ (from|values|set|where) |syntax error at|Cannot read propert|is not a function|is not iterable|\[object Object\]/;

interface Answer {
  statusCode: number;
  headers: Record<string, unknown>;
  body: string;
}

/** Everything that is wrong with an answer, in words. */
function faultsOf({ template }: FuzzRequest, { statusCode, headers, body }: Answer): string[] {
  const faults: string[] = [];
  const isJson = String(headers['content-type']).startsWith('application/json');
  if (statusCode < 400) {
    if (!isJson || body === '') return statusCode < 300 ? [] : [`status ${statusCode}`];
    const parsed = JSON.parse(body) as Record<string, unknown>;
    if (template === '/apiops/openapi.json') return parsed['openapi'] === '3.1.0' ? [] : ['no document'];
    if (template === '/apiops/auth/token') return parsed['access_token'] ? [] : ['no token'];
    const isTest = /connection-test|\/test\/$/.test(template);
    if (parsed['success'] !== true && !(isTest && parsed['success'] === false && 'results' in parsed))
      faults.push('a success without "success": true');
    return faults;
  }
  if (!isJson) return [`an error as ${String(headers['content-type'])}`];
  if (statusCode === 500) faults.push('internal error');
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(body) as Record<string, unknown>;
  } catch {
    // A HEAD has no body.
    return body === '' ? [] : ['an error that is not JSON'];
  }
  const { error, error_description: text, validation_errors: fields } = parsed;
  if (!statusOf.get(String(error))?.has(statusCode)) faults.push(`${statusCode} with error ${String(error)}`);
  if (typeof text !== 'string' || text.trim() === '') faults.push('no description');
  if (typeof parsed['request_id'] !== 'string') faults.push('no request_id');
  for (const name of Object.keys(parsed)) if (!errorFields.has(name)) faults.push(`unknown field ${name}`);
  const shown = innards.exec(String(text));
  if (shown) faults.push(`shows its innards: ${shown[0]}`);
  if (fields !== undefined) {
    const list = fields as { field?: unknown; message?: unknown }[];
    const isGood = (one: (typeof list)[number]) =>
      typeof one?.field === 'string' && typeof one.message === 'string' && one.message !== '';
    if (statusCode !== 400 && statusCode < 500) faults.push('validation_errors beside another status');
    if (!Array.isArray(fields) || list.length === 0 || !list.every(isGood))
      faults.push('validation_errors without field and message');
  }
  if (body.length > 200_000) faults.push(`an error of ${body.length} characters`);
  return faults;
}

async function send({ controlPlane }: Plugboard, request: FuzzRequest): Promise<Answer> {
  const { method, url, headers, payload } = request;
  const answer = await controlPlane.app.inject({
    method: method as 'GET',
    url,
    headers,
    ...(payload === undefined ? {} : { payload }),
    // A stream of events has no end.
    payloadAsStream: request.template === '/apiops/events/',
  });
  if (request.template !== '/apiops/events/') return answer;
  const stream = answer.stream();
  let body = '';
  if (answer.statusCode >= 400) for await (const chunk of stream) body += String(chunk);
  else {
    stream.destroy();
    answer.raw.res.emit('close');
  }
  return { statusCode: answer.statusCode, headers: answer.headers, body };
}

async function tokenWith(plugboard: Plugboard, grants: object[]): Promise<string> {
  const { status, body } = await plugboard.call('POST', '/apiops/tokens/', { name: 'fuzz', grants });
  assert.equal(status, 200, JSON.stringify(body));
  return body.token;
}

test(`${count} requests made from the OpenAPI document are answered, none with 500 (FUZZ_SEED=${seed})`, async () => {
  console.log(`FUZZ_SEED=${seed} FUZZ_REQUESTS=${count}`);
  const plugboard = await startPlugboard({
    deployTimeoutMs: 200,
    workerOptions: {
      // Nothing leaves the machine: no name is looked up, no address dialled.
      network: createNetwork({
        policy: createEgressPolicy({ deny: ['*', '0.0.0.0/0', '::/0'] }),
        lookup: async () => [{ address: '127.0.0.1', family: 4 }],
      }),
    },
  });
  try {
    const admin = [{ project: '*', permissions: ['ADMIN'] }];
    const subjects = {
      project: 'MyProject',
      tokens: [plugboard.token],
      weakTokens: [
        await tokenWith(plugboard, [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }]),
        await tokenWith(plugboard, [{ project: 'elsewhere', permissions: ['CONNECTIONS:MANAGE'] }]),
      ],
    };
    for (let made = 0; made < 30; made++) subjects.tokens.push(await tokenWith(plugboard, admin));
    const document = (await plugboard.call('GET', '/apiops/openapi.json')).body as OpenApiDocument;
    const requests = fuzzRequests(document, subjects, seed);

    const faults: string[] = [];
    const answered = new Map<string, Map<number, number>>();
    const tookMs = new Map<string, { total: number; most: number; count: number }>();
    for (let start = 0; start < count; start += atOnce) {
      const group = Array.from({ length: Math.min(atOnce, count - start) }, (_, at) => start + at);
      await Promise.all(
        group.map(async (index) => {
          const request = requests.make(index);
          const route = `${request.method} ${request.template}`;
          const since = performance.now();
          const say = (fault: string, body = '') => {
            const sent = `${request.method} ${request.url.slice(0, 200)} ${String(request.payload ?? '').slice(0, 600)}`;
            faults.push(`#${index} ${fault}: ${sent}\n  → ${body.slice(0, 600)}`);
          };
          try {
            const answer = await send(plugboard, request);
            for (const fault of faultsOf(request, answer)) say(fault, answer.body);
            const statuses = answered.get(route) ?? new Map<number, number>();
            statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1);
            answered.set(route, statuses);
          } catch (error) {
            say(`threw ${(error as Error).stack}`);
          }
          const took = performance.now() - since;
          const sum = tookMs.get(route) ?? { total: 0, most: 0, count: 0 };
          tookMs.set(route, {
            total: sum.total + took,
            most: Math.max(sum.most, took),
            count: sum.count + 1,
          });
        }),
      );
      if (faults.length > 20) break;
    }

    if (process.env['FUZZ_REPORT'])
      for (const [route, statuses] of answered) {
        const { total, most, count: times } = tookMs.get(route)!;
        const counts = [...statuses].sort(([a], [b]) => a - b).map(([status, n]) => `${status}:${n}`);
        console.log(
          `${(total / times).toFixed(1)} ms, at most ${most.toFixed(0)}  ${route}  ${counts.join(' ')}`,
        );
      }
    const internal = plugboard.log.filter((line) => /"msg":"internal error"/.test(line));
    assert.deepEqual(
      [...faults.slice(0, 10), ...internal.slice(0, 3)],
      [],
      `${faults.length} faults; again with FUZZ_SEED=${seed}`,
    );
    for (const route of requests.operations)
      assert.ok(answered.has(route) || count < 1000, `${route} was asked`);
    const taken = [...answered].filter(([, statuses]) => (statuses.get(200) ?? 0) > 0).length;
    assert.ok(
      taken >= requests.operations.length * 0.6 || count < 1000,
      `only ${taken} routes ever succeeded`,
    );
    assert.deepEqual(Object.keys(Object.prototype), [], 'the prototype of all objects is as it was');

    await lifeGoesOn(plugboard);
  } finally {
    await plugboard.stop();
  }
});

/** After the run, a newcomer finds everything working. */
async function lifeGoesOn({ call }: Plugboard): Promise<void> {
  assert.equal((await call('POST', '/apiops/projects/', { name: 'Afterwards' })).status, 200);
  const path = '/apiops/projects/Afterwards/connections/hook/';
  const body = { type: 'webhook', name: 'hook', fullUrl: 'http://127.0.0.1:9/', signingSecret: 'kept-safe' };
  const created = await call('POST', `${path}?deployTimeoutMs=10000`, body);
  assert.equal(created.status, 200, created.text);
  assert.equal(created.body.deploymentResult.success, true, created.text);
  const got = await call('GET', path);
  assert.equal(got.body.resultList[0].signingSecret, 'kept-safe');
  assert.equal((await call('DELETE', path)).status, 200);
  assert.equal((await call('GET', path)).status, 404);
  assert.equal((await call('GET', '/readyz', undefined, { token: null })).status, 200);
}
