import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort } from '../services/service.ts';

const root = dirname(dirname(import.meta.dirname));

/** What differs from run to run: times, message ids, request ids. */
/** This process's, without the settings that somebody may have for a Plugboard of theirs. */
function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PLUGBOARD_')));
}

function normalised(text: string): string {
  return text
    .replaceAll(/\(\d+ ms\)/g, '(N ms)')
    .replaceAll(/\d+ ms {2}/g, 'N ms  ')
    .replaceAll(/"messageId":"<[^@"]+@/g, '"messageId":"<ID@')
    .replaceAll(/"request_id":"[^"]+"/g, '"request_id":"ID"')
    .trim();
}

interface Step {
  script: string;
  expected: string;
}

/** Each `sh` block of the README with the block of output that follows it. */
function stepsOf(readme: string): Step[] {
  const blocks = [...readme.matchAll(/^```(sh|json|text)\n([\s\S]*?)^```$/gm)].map(([, kind, text]) => ({
    kind: kind!,
    text: text!,
  }));
  return blocks.flatMap(({ kind, text }, place) => {
    const next = blocks[place + 1];
    return kind === 'sh' && next && next.kind !== 'sh' ? [{ script: text, expected: next.text }] : [];
  });
}

async function waitForLine(child: ChildProcess, wanted: RegExp): Promise<string> {
  let printed = '';
  return new Promise((resolve, reject) => {
    const look = (chunk: Buffer) => {
      printed += chunk.toString();
      if (wanted.test(printed)) resolve(printed);
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    child.once('close', () => reject(new Error(`ended before it said ${wanted}:\n${printed}`)));
  });
}

/** Runs the lines of all steps in one shell and answers what each step printed. */
async function runSteps(steps: Step[], cwd: string, env: NodeJS.ProcessEnv): Promise<string[]> {
  const mark = '=== next step ===';
  const shell = spawn('bash', ['-s'], { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  shell.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  shell.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  shell.stdin.end(steps.map(({ script }) => `${script}\necho; echo '${mark}'\n`).join(''));
  await new Promise((resolve) => shell.once('close', resolve));
  return output.split(mark).slice(0, steps.length);
}

let directory: string;
let port: number;
let smtpPort: number;
let server: ChildProcess;
let sink: ChildProcess;
let mails = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'plugboard-readme-'));
  for (const name of ['package.json', 'src', 'client', 'scripts'])
    await cp(join(root, name), join(directory, name), { recursive: true });
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  port = await freePort();
  smtpPort = await freePort();
  sink = spawn(process.execPath, ['scripts/smtp-sink.ts', String(smtpPort)], { cwd: directory });
  await waitForLine(sink, /listening/);
  sink.stdout?.on('data', (chunk: Buffer) => {
    mails += chunk.toString();
  });
  const env = { ...plainEnvironment(), PLUGBOARD_PORT: String(port) };
  server = spawn(process.execPath, ['src/main.ts', 'start'], { cwd: directory, env });
  const printed = await waitForLine(server, /listening on/);
  assert.match(printed, /admin token was written to .*plugboard-data-secrets.admin-token/);
});

after(async () => {
  for (const child of [server, sink]) {
    if (child && child.exitCode === null) {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGTERM');
      await ended;
    }
  }
  await rm(directory, { recursive: true, force: true });
});

test('the lines of the README do what it shows', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const steps = stepsOf(readme);
  assert.ok(steps.length >= 7, 'the walk has lost steps');
  // Ports of the test's own; everything else is run as it stands.
  const adapted = steps.map(({ script, expected }) => ({
    script: script
      .replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`)
      .replaceAll('"port": 2525', `"port": ${smtpPort}`),
    expected: expected.replaceAll('port 2525', `port ${smtpPort}`),
  }));
  const env = { ...plainEnvironment(), PLUGBOARD_URL: `http://127.0.0.1:${port}` };
  const printed = await runSteps(adapted, directory, env);
  adapted.forEach(({ script, expected }, place) => {
    assert.equal(normalised(printed[place] ?? ''), normalised(expected), `after:\n${script}`);
  });
  assert.match(mails, /--- mail to test@example\.com/, 'the test sent no mail');
  assert.match(
    mails,
    /--- mail to ops@example\.com[\s\S]*Subject: Hello[\s\S]*Sent by name\./,
    'the operation sent no mail',
  );
  assert.doesNotMatch(mails, /Too late/);
});

test('SIGTERM drains and exits 0', async () => {
  const code = new Promise((resolve) => server.once('close', resolve));
  server.kill('SIGTERM');
  assert.equal(await code, 0);
});
