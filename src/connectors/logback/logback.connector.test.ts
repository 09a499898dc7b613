import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { privateDirectory } from '../../../test/services/service.ts';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { Zone } from './date-pattern.ts';
import { FileNamePattern } from './file-name-pattern.ts';
import { LineQueue } from './line-queue.ts';
import { logbackConnector } from './logback.connector.ts';
import type { logback } from './logback.definition.ts';
import { RollingFile } from './rolling-file.ts';

type Config = ConfigOf<typeof logback>;
type LogInput = InputOf<(typeof logback)['operations']['log']>;

function config(overrides: Partial<Config>): Config {
  return {
    type: 'logback',
    name: 'files',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    logPath: '/nowhere/',
    logFileName: 'app',
    logPodName: 'pod',
    logFilenamePattern: '%d{yyyy-MM-dd, UTC}.%i.log',
    logPattern: '%-5level [%thread] %logger{1} %X{id} - %msg%n',
    maxFileSize: 25,
    maxHistory: 0,
    totalSizeCap: 0,
    ...overrides,
  };
}

async function place(t: TestContext) {
  const directory = await privateDirectory('logback');
  t.after(() => directory.remove());
  const root = join(directory.path, 'allowed');
  await mkdir(root);
  return { outside: directory.path, root };
}

const context = (logRoots: readonly string[]) =>
  createContext({ signal: new AbortController().signal, logRoots });

const failsWith = (expected: string, message?: RegExp) => (error: unknown) => {
  const failure = logbackConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  if (message) assert.match(failure.message, message);
  return true;
};

async function open(t: TestContext, root: string, overrides: Partial<Config> = {}) {
  const ctx = context([root]);
  const live = await logbackConnector.open(config({ logPath: `${root}/`, ...overrides }), ctx);
  t.after(() => logbackConnector.close(live));
  return {
    ctx,
    live,
    log: (input: LogInput, signal = new AbortController().signal) =>
      logbackConnector.operations.log(live, input, { signal }),
  };
}

test('lines are written in order and in one piece, side by side too', async (t) => {
  const { root } = await place(t);
  const { log, live } = await open(t, root, { logPath: `${root}/a/b/` });
  const one = await log({ message: 'one\ntwo', thread: 't', logger: 'x.Y', mdc: { id: '7' } });
  assert.equal(one.written, 1);
  assert.match(one.file, /\/a\/b\/app-pod-\d{4}-\d\d-\d\d\.0\.log$/);
  const batch = (name: string) => ({
    messages: Array.from({ length: 200 }, (_, at) => ({ message: `${name}${at}`, exception: 'e\n\tat f' })),
  });
  await Promise.all(['a', 'b', 'c'].map((name) => log(batch(name))));
  const text = await readFile(one.file, 'utf8');
  const expected = ['a', 'b', 'c'].map((name) =>
    batch(name)
      .messages.map(({ message }) => `INFO  [main] plugboard  - ${message}\ne\n\tat f\n`)
      .join(''),
  );
  assert.equal(text, `INFO  [t] x.Y 7 - one\ntwo\n${expected.join('')}`);
  assert.deepEqual(logbackConnector.figures!(live), { openFiles: 1, waiting: 0 });
  await logbackConnector.close(live);
  await logbackConnector.close(live);
  assert.deepEqual(logbackConnector.figures!(live), { openFiles: 0, waiting: 0 });
  await assert.rejects(log({ message: 'x' }), failsWith('cancelled'));
});

test('who calls again at once leaves others their turn, and every line is in the file', async (t) => {
  const { root } = await place(t);
  const { log } = await open(t, root, { logPattern: '%msg%n' });
  let hasTurned = false;
  setTimeout(() => {
    hasTurned = true;
  }, 20);
  let lines = 0;
  let file = '';
  while (!hasTurned) {
    assert.ok(lines < 1_000_000, 'the loop never turned');
    ({ file } = await log({ message: String(lines++) }));
  }
  const expected = Array.from({ length: lines }, (_, at) => `${at}\n`).join('');
  assert.equal(await readFile(file, 'utf8'), expected);
});

test('an aborted call writes nothing', async (t) => {
  const { root } = await place(t);
  const { log } = await open(t, root);
  await assert.rejects(log({ message: 'x' }, AbortSignal.abort()), failsWith('cancelled'));
  assert.deepEqual(await readdir(root), []);
});

test('the pod is the host by default', async (t) => {
  const { root } = await place(t);
  const { log } = await open(t, root, { logPodName: '' });
  const { file } = await log({ message: 'x' });
  assert.ok(file.startsWith(`${root}/app-${hostname()}-`), file);
});

test('security 11: nothing is written outside of what the operator allows', async (t) => {
  const { outside, root } = await place(t);
  const at = (logPath: string, roots = [root]) =>
    Promise.resolve(logbackConnector.open(config({ logPath }), context(roots)));
  await assert.rejects(at(`${root}/`, []), failsWith('invalid_configuration', /PLUGBOARD_WORKER_LOG_ROOTS/));
  for (const logPath of [`${outside}/`, `${root}-beside/`, '/', `${root}/../x/`])
    await assert.rejects(at(logPath), failsWith('invalid_configuration', /lies outside/), logPath);
  assert.deepEqual(await readdir(outside), ['allowed']);
  await symlink(outside, join(root, 'link'));
  await assert.rejects(at(`${root}/link/`), failsWith('invalid_configuration', /lies outside/));
  await assert.rejects(at(`${root}/link/deeper/`), failsWith('invalid_configuration', /lies outside/));
  await symlink(join(outside, 'nothing'), join(root, 'dangling'));
  await assert.rejects(at(`${root}/dangling/x/`));
  await symlink(root, join(outside, 'into'));
  await logbackConnector.open(config({ logPath: `${outside}/into/` }), context([root]));
  await logbackConnector.open(config({ logPath: `${root}/` }), context([join(outside, 'into')]));
  assert.deepEqual((await readdir(outside)).toSorted(), ['allowed', 'into']);
});

test('security 11: a link that appears later is noticed when the file is opened', async (t) => {
  const { outside, root } = await place(t);
  const { log } = await open(t, root, { logPath: `${root}/logs/` });
  const today = new Date().toISOString().slice(0, 10);
  await symlink(join(outside, 'stolen'), join(root, 'logs', `app-pod-${today}.0.log`));
  await assert.rejects(log({ message: 'x' }), failsWith('invalid_configuration', /link/));
  assert.deepEqual(await readdir(outside), ['allowed']);
  await unlink(join(root, 'logs', `app-pod-${today}.0.log`));
  await log({ message: 'x' });
});

test('security 11: the directory is looked at again at each roll', async (t) => {
  const { outside, root } = await place(t);
  let nowMs = Date.UTC(2026, 0, 1);
  const file = new RollingFile({
    pattern: new FileNamePattern(`${root}/%d{yyyy-MM-dd}/a.%i.log`, new Zone('UTC')),
    roots: [root],
    maxFileBytes: 1000,
    maxHistory: 0,
    totalBytes: 0,
    now: () => nowMs,
    onCleanFailure: (error) => assert.fail(String(error)),
  });
  t.after(() => file.close());
  await file.append([['x\n']]);
  await symlink(outside, join(root, '2026-01-02'));
  nowMs += 86_400_000;
  await assert.rejects(file.append([['y\n']]), failsWith('invalid_configuration'));
  assert.deepEqual(await readdir(outside), ['allowed']);
});

test('a call that fails half way leaves nothing of itself', async (t) => {
  const { root } = await place(t);
  const file = new RollingFile({
    pattern: new FileNamePattern(`${root}/%d.%i.log`, new Zone('UTC')),
    roots: [root],
    maxFileBytes: 10,
    maxHistory: 0,
    totalBytes: 0,
    now: () => Date.UTC(2026, 0, 1),
    onCleanFailure: (error) => assert.fail(String(error)),
  });
  t.after(() => file.close());
  await file.append([['before\n']]);
  await mkdir(join(root, '2026-01-01.2.log'));
  const lines = Array.from({ length: 9 }, (_, at) => `line ${at}\n`);
  await assert.rejects(file.append([lines]), failsWith('invalid_configuration', /directory/));
  assert.equal(await readFile(join(root, '2026-01-01.0.log'), 'utf8'), 'before\n');
  assert.equal(await readFile(join(root, '2026-01-01.1.log'), 'utf8'), '');
});

test('calls that are written together fail each for itself', async (t) => {
  const { root } = await place(t);
  const file = new RollingFile({
    pattern: new FileNamePattern(`${root}/%d.%i.log`, new Zone('UTC')),
    roots: [root],
    maxFileBytes: 10,
    maxHistory: 0,
    totalBytes: 0,
    now: () => Date.UTC(2026, 0, 1),
    onCleanFailure: (error) => assert.fail(String(error)),
  });
  const queue = new LineQueue(file);
  t.after(() => queue.close());
  const { signal } = new AbortController();
  await queue.append(['zero\n'], { signal });
  await mkdir(join(root, '2026-01-01.1.log'));
  const given = [['one\n'], ['two\n', 'three\n'], ['four\n', 'five\n'], ['six\n']];
  const cancelled = AbortSignal.abort(new Error('taken back'));
  const calls = [
    ...given.map((lines) => queue.append(lines, { signal })),
    queue.append(['never\n'], { signal: cancelled }),
  ];
  assert.equal(queue.figures.waiting, 5);
  const outcomes = await Promise.allSettled(calls);
  const path = join(root, '2026-01-01.0.log');
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value.file : 'failed')),
    [path, 'failed', 'failed', path, 'failed'],
  );
  for (const outcome of outcomes.slice(1, 3))
    assert.ok(
      outcome.status === 'rejected' && failsWith('invalid_configuration', /directory/)(outcome.reason),
    );
  await assert.rejects(calls[4]!, { message: 'taken back' });
  assert.equal(await readFile(path, 'utf8'), 'zero\none\nsix\n');
  assert.equal(queue.figures.waiting, 0);
});

test('each of the calls that are written together learns its own file', async (t) => {
  const { root } = await place(t);
  const file = new RollingFile({
    pattern: new FileNamePattern(`${root}/%d.%i.log`, new Zone('UTC')),
    roots: [root],
    maxFileBytes: 10,
    maxHistory: 0,
    totalBytes: 0,
    now: () => Date.UTC(2026, 0, 1),
    onCleanFailure: (error) => assert.fail(String(error)),
  });
  const queue = new LineQueue(file);
  t.after(() => queue.close());
  const { signal } = new AbortController();
  const lines = Array.from({ length: 7 }, (_, at) => `line ${at}\n`);
  const appended = await Promise.all(lines.map((line) => queue.append([line], { signal })));
  const paths = appended.map(({ file }) => file);
  assert.deepEqual(
    paths,
    [0, 0, 1, 1, 2, 2, 3].map((index) => join(root, `2026-01-01.${index}.log`)),
  );
  assert.equal(await readFile(paths[2]!, 'utf8'), 'line 2\nline 3\n');
});

test('patterns that cannot be used are refused by their field', async (t) => {
  const { root } = await place(t);
  const refuse = (overrides: Partial<Config>, said: RegExp) =>
    assert.rejects(
      Promise.resolve().then(() =>
        logbackConnector.open(config({ logPath: `${root}/`, ...overrides }), context([root])),
      ),
      failsWith('invalid_configuration', said),
    );
  await refuse({ logPattern: '%d{' }, /^logPattern: /);
  await refuse({ logPattern: '%class %m%n' }, /^logPattern: %class is not supported here/);
  await refuse({ logPattern: '%d{yyyy-ww}%n' }, /^logPattern: %d: the letter w/);
  await refuse({ logFilenamePattern: '%d{yyyy}.%i.log' }, /^logFilenamePattern: /);
  await refuse({ logFilenamePattern: '%d.%i.log.zip' }, /^logFilenamePattern: /);
  await refuse({ logFilenamePattern: '%d.%i.%x.log' }, /^logFilenamePattern: %x/);
});

test('%% is a percent sign', async (t) => {
  const { root } = await place(t);
  const { log } = await open(t, root, { logPattern: '100%% %m%%%n' });
  const { file } = await log({ message: 'x' });
  assert.equal(await readFile(file, 'utf8'), '100% x%\n');
});

test('the test writes beside the log, and says where the lines go', async (t) => {
  const { root } = await place(t);
  const tested = config({ logPath: `${root}/t/`, totalSizeCap: 1 });
  const ctx = context([root]);
  const { stages, success } = await testConnection(logbackConnector, tested, ctx);
  assert.ok(success, JSON.stringify(stages));
  assert.match(stages.find(({ stage }) => stage === 'operate')?.detail ?? '', /app-pod-.*GB are free/);
  assert.deepEqual(await readdir(join(root, 't')), []);
  const { live, ctx: opened } = await open(t, root, { totalSizeCap: 1 });
  assert.match(opened.warnings.join(), /totalSizeCap: has no effect without maxHistory/);
  await logbackConnector.prove(live, { signal: new AbortController().signal });
  const refused = await testConnection(logbackConnector, tested, context([]));
  const operate = refused.stages.find(({ stage }) => stage === 'operate');
  assert.equal(operate?.code, 'invalid_configuration');
  assert.match(operate?.detail ?? '', /PLUGBOARD_WORKER_LOG_ROOTS/);
  await writeFile(join(root, 'file'), '');
  await assert.rejects(
    Promise.resolve(logbackConnector.open(config({ logPath: `${root}/file/` }), context([root]))),
    failsWith('invalid_configuration'),
  );
});
