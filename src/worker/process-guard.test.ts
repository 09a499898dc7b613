import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';

const guardUrl = new URL('./process-guard.ts', import.meta.url).href;

/** Runs a script in a process of its own; answers exit code and output. */
async function run(script: string): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, output };
}

const prelude = (guard: boolean, scrub = 'undefined') => `
  import { connect, createServer } from 'node:net';
  import { installProcessGuard } from ${JSON.stringify(guardUrl)};
  const write = (fields, message) => console.log(JSON.stringify({ ...fields, message }));
  const log = { debug: write, info: write, warn: write, error: write };
  if (${guard}) installProcessGuard(log, ${scrub});
`;

const outOfBand = `
  const server = createServer((socket) => socket.resetAndDestroy()).listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close();
    connect(port, '127.0.0.1').on('connect', function () { this.destroy(new Error('login of user with hunter2 failed')); });
    setTimeout(() => { throw Object.assign(new Error('thrown in a timer with hunter2'), { code: 'EDRIVER' }); }, 10);
    Promise.reject(new Error('rejected with hunter2'));
    for (let n = 0; n < 50; n++) setTimeout(() => Promise.reject(new Error('again and again')), 20);
    setTimeout(() => { console.log('still alive'); process.exit(7); }, 200);
  });
`;

test('security.md 18: a socket error, a throw in a timer and a rejection do not end the process', async () => {
  const { code, output } = await run(prelude(true) + outOfBand);
  assert.equal(code, 7, output);
  assert.match(output, /still alive/);
  assert.match(output, /EDRIVER/);
  assert.match(output, /unhandledRejection/);
  assert.ok(!output.includes('hunter2'), 'the text of a driver may hold a secret');
});

test('an error that repeats is logged once, not fifty times', async () => {
  const { output } = await run(prelude(true, '(text) => text') + outOfBand);
  assert.equal(output.split('again and again').length - 1, 1, output);
});

test('with a scrubber the text is logged without secrets', async () => {
  const { output } = await run(prelude(true, "(text) => text.replaceAll('hunter2', '***')") + outOfBand);
  assert.match(output, /thrown in a timer with \*\*\*/);
  assert.ok(!output.includes('hunter2'));
});

const hostile = `
  const odd = new Error('hunter2');
  Object.defineProperty(odd, 'message', { get() { throw new Error('hunter2'); } });
  odd.code = 'a code with hunter2';
  const framed = new Error('first line\\n    at hunter2');
  framed.name = 'hunter2 Error';
  for (const thrown of [odd, framed, new Error('hunter2 '.repeat(100)), { toString() { throw framed; } }]) {
    Promise.reject(thrown);
    setTimeout(() => { throw thrown; });
  }
  setTimeout(() => { console.log('still alive'); process.exit(7); }, 200);
`;

for (const scrub of ["() => { throw new Error('too large: hunter2'); }", 'undefined'])
  test(`security 18: the guard throws and prints nothing of a text that it cannot scrub (${scrub})`, async () => {
    const { code, output } = await run(prelude(true, scrub) + hostile);
    assert.equal(code, 7, output);
    assert.match(output, /nobody handled/);
    assert.ok(!output.includes('hunter2'), output);
  });

test('security 18: a log that fails does not end the process either', async () => {
  const { code } = await run(
    `${prelude(true)} log.error = () => { throw new Error('no log'); }; ${outOfBand}`,
  );
  assert.equal(code, 7);
});

test('without the guard the same script ends: the test above can fail', async () => {
  const { code } = await run(prelude(false) + outOfBand);
  assert.notEqual(code, 7);
});
