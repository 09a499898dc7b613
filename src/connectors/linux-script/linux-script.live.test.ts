import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { type SshdOptions, type SshdService, startSshd } from '../../../test/services/sshd.ts';
import type { ConfigOf } from '../../contract/connection-type.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import type { AppError } from '../../errors.ts';
import { linuxScriptConnector } from './linux-script.connector.ts';
import type { linuxScript, RunInput } from './linux-script.definition.ts';

type Config = ConfigOf<typeof linuxScript>;

const wrongPassword = 'Canary-wr0ng-passw0rd';

async function serve(t: TestContext, options?: SshdOptions): Promise<SshdService | undefined> {
  const service = await startOrSkip(t, () => startSshd(options));
  if (service) t.after(() => service.stop());
  return service;
}

function config(service: SshdService, overrides: Partial<Config> = {}): Config {
  const { password, privateKey } = service;
  return {
    type: 'linux-script',
    name: 'ssh',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    hostName: '127.0.0.1',
    sshPort: service.port,
    username: service.user,
    ...(password === undefined ? { privateKey } : { password }),
    connectTimeout: 20_000,
    commandTimeout: 60_000,
    maxOutputBytes: 1_048_576,
    ...overrides,
  };
}

/** Opens a connection for one test; it is closed behind it. */
function open(t: TestContext, configured: Config) {
  const ctx = createContext({ signal: new AbortController().signal });
  const live = linuxScriptConnector.open(configured, ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => linuxScriptConnector.close(live));
  return {
    ctx,
    live,
    run: (input: RunInput, signal: AbortSignal = AbortSignal.timeout(60_000)) =>
      linuxScriptConnector.operations.run(live, input, { signal }),
  };
}

async function stagesOf(configured: Config) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000) });
  const { stages, warnings = [] } = await testConnection(linuxScriptConnector, configured, ctx);
  const byName = Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<
    StageName,
    StageResult
  >;
  return { ...byName, warnings };
}

const code = (expected: string) => (error: unknown) => {
  const failure = linuxScriptConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

/** Waits until none of the account's processes shows the text in its command line. */
async function assertGone(service: SshdService, text: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const left = await service.processes(text);
    if (left.length === 0) return;
    assert.ok(Date.now() < deadline, `processes ${left.join(', ')} are still there`);
    await sleep(50);
  }
}

async function waitForProcess(service: SshdService, text: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while ((await service.processes(text)).length === 0) {
    assert.ok(Date.now() < deadline, 'the command did not start');
    await sleep(50);
  }
}

/** A time for `sleep` that no other process is likely to have. */
const oddSeconds = () => `${1000 + (randomBytes(4).readUInt32BE() % 1_000_000_000)}`;

test('linux-script contract', async (t) => {
  const service = await serve(t);
  if (!service) return;
  await connectorContract(t, 'linux-script', {
    connector: linuxScriptConnector,
    config: () => config(service, { hostKeyFingerprint: service.fingerprint }),
    configAt: ({ host, port, timeoutMs }) =>
      config(service, {
        hostName: host,
        sshPort: port,
        connectTimeout: timeoutMs,
        commandTimeout: timeoutMs,
      }),
    badCredentials:
      service.password === undefined ? undefined : () => config(service, { password: wrongPassword }),
    operate: async (live, call) => {
      const output = await linuxScriptConnector.operations.run(live, { script: 'echo done' }, call);
      assert.equal(output.stdout, 'done\n');
      return output;
    },
    restart: () => service.restart(),
    silentAt: 'connect',
    garbledAt: 'connect',
    secrets: [...(service.password ? [service.password] : []), wrongPassword, service.privateKey],
    tls: false,
  });
});

test('a command with its arguments, input, variables, exit code', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { run } = open(t, config(service));

  await t.test('arguments arrive as they are', async () => {
    const args = ["it's", '$HOME `id` $(id)', 'two\nlines', '*', '', '\\n %s', '"', 'ü€😀', '-n'];
    const { stdout, exitCode } = await run({ command: 'printf', args: ['<%s>', ...args] });
    assert.equal(stdout, args.map((arg) => `<${arg}>`).join(''));
    assert.equal(exitCode, 0);
  });
  await t.test('a command name cannot be another command', async () => {
    const { exitCode, stderr } = await run({ command: 'echo hello; echo pwned' });
    assert.equal(exitCode, 127);
    assert.match(stderr, /not found/);
  });
  await t.test('a script runs as it is written', async () => {
    const script = [
      '#!/bin/sh',
      '# a comment with \\n and %s and $PATH',
      'f() { printf "%s|" "$1"; return 3; }',
      'f \'a\\tb\\\\c\' || echo "code $?"',
      'cat <<END',
      'here $((1 + 1))',
      'END',
      'echo to-stderr >&2',
      'exit 7',
      '',
    ].join('\n');
    const output = await run({ script });
    assert.equal(output.stdout, 'a\\tb\\\\c|code 3\nhere 2\n');
    assert.equal(output.stderr, 'to-stderr\n');
    assert.equal(output.exitCode, 7);
    assert.equal(output.signal, null);
  });
  await t.test('standard input reaches the command, byte for byte, and ends', async () => {
    const stdin = `first\n\\n second ${'x'.repeat(300_000)}\nwithout end`;
    assert.equal((await run({ command: 'cat', stdin })).stdout, stdin);
    assert.equal(
      (await run({ script: 'read line; echo "<$line>"; cat', stdin: 'a\nb\n' })).stdout,
      '<a>\nb\n',
    );
    assert.equal((await run({ command: 'cat' })).stdout, '');
  });
  await t.test('variables are set whatever the server accepts, and quoted', async () => {
    const environment = { PB_TEST: `'; echo pwned; '\n$HOME "`, PB_EMPTY: '' };
    const { stdout } = await run({
      script: 'printf "%s|%s" "$PB_TEST" "${PB_EMPTY-unset}"',
      environment,
    });
    assert.equal(stdout, `${environment.PB_TEST}|`);
  });
  await t.test('neither script nor variables show in the process list', async () => {
    const value = `Canary-${oddSeconds()}`;
    const { stdout } = await run({
      script: `ps -e -o args=; : ${value}`,
      environment: { TOKEN_OF_TEST: value },
    });
    assert.match(stdout, /sh -c/);
    assert.ok(!stdout.includes(value), stdout);
  });
  await t.test('a script of a megabyte runs', async () => {
    const script = `${`# ${'x'.repeat(997)}\n`.repeat(1000)}echo end`;
    assert.equal((await run({ script })).stdout, 'end\n');
  });
  await t.test('a signal that ends it is named', async () => {
    const { exitCode, signal } = await run({ script: 'kill -s TERM $$' });
    assert.equal(exitCode, null);
    assert.equal(signal, 'TERM');
  });
  await t.test('U+0000 is refused before anything is sent', async () => {
    await assert.rejects(run({ command: 'echo', args: ['a\0b'] }), code('request_rejected'));
    await assert.rejects(run({ script: 'echo a\0b' }), code('request_rejected'));
  });
});

test('output beyond the limit is dropped, and the answer says so', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { run } = open(t, config(service, { maxOutputBytes: 1000 }));
  const exact = await run({ script: 'head -c 1000 /dev/zero | tr "\\0" x' });
  assert.equal(exact.stdout.length, 1000);
  assert.equal(exact.stdoutTruncated, false);
  const more = await run({ script: 'head -c 5000000 /dev/zero | tr "\\0" x; echo e >&2; exit 4' });
  assert.equal(more.stdout.length, 1000);
  assert.equal(more.stdoutTruncated, true);
  assert.equal(more.stderrTruncated, false);
  assert.equal(more.stderr, 'e\n');
  assert.equal(more.exitCode, 4);
  const cut = await run({ script: 'head -c 999 /dev/zero | tr "\\0" x; printf "ü"' });
  assert.equal(cut.stdout, 'x'.repeat(999), 'half a character is no character');
});

test('a command that exceeds its time is killed, with what it started', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { run } = open(t, config(service, { commandTimeout: 1500 }));
  for (const input of [
    { script: 'sleep SECONDS & sleep SECONDS; echo not reached' },
    { script: 'trap "" TERM HUP INT; sleep SECONDS', timeoutMs: 700 },
    { command: 'sleep', args: ['SECONDS'], stdin: 'some input' },
  ] as RunInput[]) {
    const seconds = oddSeconds();
    const filled = JSON.parse(JSON.stringify(input).replaceAll('SECONDS', seconds)) as RunInput;
    await assert.rejects(run(filled), (error) => {
      assert.match((error as Error).message, /was killed$/);
      return code('target_timeout')(error);
    });
    assert.deepEqual(await service.processes(seconds), []);
  }
  assert.equal((await run({ script: 'echo next' })).stdout, 'next\n');
});

test('a server that restarts in the middle of commands ends them with a typed error, and the next one runs', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { run } = open(t, config(service));
  const seconds = oddSeconds();
  const running = [1, 2, 3].map(() => run({ script: `echo begun; sleep ${seconds}` }));
  for (const each of running) each.catch(() => {});
  await waitForProcess(service, seconds);
  await service.restart();
  for (const each of running)
    await assert.rejects(each, (error) => {
      assert.equal(linuxScriptConnector.classify(error).retryable, true);
      return code('connection_lost')(error);
    });
  assert.equal((await run({ script: 'echo next' })).stdout, 'next\n');
});

test('a command that is cancelled is killed', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { run, live } = open(t, config(service));
  const seconds = oddSeconds();
  const abort = new AbortController();
  const running = run({ script: `sleep ${seconds}` }, abort.signal);
  await waitForProcess(service, seconds);
  abort.abort();
  await assert.rejects(running, code('cancelled'));
  await assertGone(service, seconds);

  const others = oddSeconds();
  const closing = run({ script: `sleep ${others}` });
  await waitForProcess(service, others);
  await linuxScriptConnector.close(live);
  await assert.rejects(closing, code('cancelled'));
  await assertGone(service, others);
});

test('where the server refuses signals, the process group is killed by a command', async (t) => {
  // OpenSSH sends no signals to forced commands.
  const service = await serve(t, { config: ['ForceCommand /bin/sh -c "$SSH_ORIGINAL_COMMAND"'] });
  if (!service) return;
  const { run } = open(t, config(service));
  const seconds = oddSeconds();
  await assert.rejects(run({ script: `sleep ${seconds} & wait`, timeoutMs: 1000 }), (error) => {
    assert.match((error as Error).message, /was killed$/);
    return code('target_timeout')(error);
  });
  await assertGone(service, seconds);
});

test('a host key that was configured must be shown', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const right = await stagesOf(config(service, { hostKeyFingerprint: service.fingerprint }));
  assert.equal(right.operate?.status, 'passed');
  assert.ok(right.connect?.detail?.includes(service.fingerprint));
  assert.equal(right.connect?.hint, undefined);
  assert.deepEqual(right.warnings, []);

  const other = `SHA256:${'A'.repeat(43)}`;
  const wrong = await stagesOf(config(service, { hostKeyFingerprint: other }));
  assert.equal(wrong.connect?.code, 'host_key_mismatch');
  assert.ok(wrong.connect?.detail?.includes(service.fingerprint));
  assert.match(wrong.connect?.hint ?? '', /hostKeyFingerprint/);
  assert.equal(wrong.authenticate?.status, 'skipped');
  const { run } = open(t, config(service, { hostKeyFingerprint: other }));
  await assert.rejects(run({ script: 'echo' }), code('host_key_mismatch'));
});

test('without a fingerprint the first key is trusted for the life of the client, and the test says so', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const seen = await stagesOf(config(service));
  assert.ok(seen.connect?.detail?.includes(service.fingerprint));
  assert.ok(seen.connect?.hint?.includes(service.fingerprint));
  assert.match(seen.warnings.join(), /hostKeyFingerprint/);

  const { run } = open(t, config(service));
  await run({ script: 'echo' });
  await service.restartWithNewHostKey();
  const deadline = Date.now() + 20_000;
  for (;;) {
    const failure = await run({ script: 'echo' }).then(
      () => assert.fail('another host key was accepted'),
      linuxScriptConnector.classify,
    );
    if (failure.code === 'host_key_mismatch') break;
    assert.equal(failure.code, 'connection_lost');
    assert.ok(Date.now() < deadline);
  }
  const anew = open(t, config(service));
  assert.equal((await anew.run({ script: 'echo new' })).stdout, 'new\n');
});

test('logs in by key; a refusal names what was tried and what is offered', async (t) => {
  const service = await serve(t, { config: ['KbdInteractiveAuthentication no'] });
  if (!service) return;
  const byKey = { password: undefined, privateKey: service.privateKey };
  const key = await stagesOf(config(service, byKey));
  assert.equal(key.authenticate?.detail, `publickey as ${service.user}`);

  const unknown = await stagesOf(config(service, { ...byKey, username: 'nobody-here' }));
  assert.equal(unknown.authenticate?.code, 'authentication_failed');
  assert.match(unknown.authenticate?.detail ?? '', /by publickey; it offers publickey, password/);
  assert.match(unknown.authenticate?.hint ?? '', /authorized_keys/);
  if (service.password === undefined) return;

  const both = await stagesOf(config(service, { privateKey: service.privateKey, password: wrongPassword }));
  assert.equal(both.authenticate?.detail, `publickey as ${service.user}`);
  const password = await stagesOf(config(service));
  assert.equal(password.authenticate?.detail, `password as ${service.user}`);
  const refused = await stagesOf(config(service, { password: wrongPassword }));
  assert.match(refused.authenticate?.hint ?? '', /user name and password/);
});

test('logs in by a key that its passphrase opens', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const directory = await mkdtemp(join(tmpdir(), 'sealed-key-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'key');
  const passphrase = 'Canary-pass phrase';
  await writeFile(file, service.privateKey, { mode: 0o600 });
  await promisify(execFile)('ssh-keygen', ['-q', '-p', '-P', '', '-N', passphrase, '-f', file]);
  const sealed = { password: undefined, privateKey: await readFile(file, 'utf8') };
  const { authenticate } = await stagesOf(config(service, { ...sealed, passphrase }));
  assert.equal(authenticate?.detail, `publickey as ${service.user}`);
  for (const wrong of [undefined, 'Canary-wrong'])
    assert.throws(
      () => open(t, config(service, { ...sealed, passphrase: wrong })),
      (error: AppError) => {
        assert.equal(error.code, 'invalid_configuration');
        assert.match(error.message, /passphrase/);
        return !error.message.includes('Canary');
      },
    );
});

test('a server that takes no password says so', async (t) => {
  const service = await serve(t, {
    config: ['PasswordAuthentication no', 'KbdInteractiveAuthentication no'],
  });
  if (!service) return;
  const { authenticate } = await stagesOf(
    config(service, { password: wrongPassword, privateKey: undefined }),
  );
  assert.equal(authenticate?.code, 'authentication_failed');
  assert.match(authenticate?.hint ?? '', /give a privateKey/);
});

test('leaves nothing in the home of the account', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { run } = open(t, config(service));
  await run({ script: 'echo one', environment: { A: 'b' } });
  assert.deepEqual(await readdir(service.home), []);
});
