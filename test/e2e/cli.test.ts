import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { createAuthority } from '../services/certificates.ts';
import { type SmtpService, startSmtp } from '../services/smtp.ts';

const main = join(dirname(dirname(import.meta.dirname)), 'src', 'main.ts');

interface Run {
  code: number;
  out: string;
  err: string;
}

describe('command line', () => {
  let plugboard: Plugboard;
  let smtp: SmtpService;
  before(async () => {
    smtp = await startSmtp({ tls: 'none' });
    plugboard = await startPlugboard();
    await plugboard.call('POST', '/apiops/projects/MyProject/connections/mail/', {
      type: 'email',
      name: 'mail',
      host: smtp.host,
      port: smtp.port,
      from: 'a@example.com',
    });
    await plugboard.call('POST', '/apiops/projects/MyProject/connections/dead/', {
      type: 'email',
      name: 'dead',
      host: '127.0.0.1',
      port: 1,
    });
  });
  after(async () => {
    await plugboard.stop();
    await smtp.stop();
  });

  const run = (args: string[], env: NodeJS.ProcessEnv = {}): Promise<Run> =>
    new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        [main, ...args],
        {
          cwd: plugboard.directory,
          env: {
            PATH: process.env['PATH'],
            PLUGBOARD_URL: plugboard.url,
            PLUGBOARD_TOKEN: plugboard.token,
            ...env,
          },
        },
        (_error, out, err) => resolve({ code: child.exitCode ?? -1, out, err }),
      );
    });

  test('help explains; an unknown command is wrong usage', async () => {
    const help = await run([]);
    assert.equal(help.code, 0);
    for (const word of [
      'start',
      'server',
      'worker',
      'token create',
      'project create',
      'types',
      'test',
      'call',
    ])
      assert.ok(help.out.includes(word), word);
    const unknown = await run(['frobnicate']);
    assert.equal(unknown.code, 2);
    assert.match(unknown.err, /unknown command 'frobnicate'/);
    assert.match((await run(['call', '--help'])).out, /--data JSON/);
  });

  test('a process has help, and takes no other argument', async () => {
    for (const process of ['start', 'server', 'worker']) {
      const help = await run([process, '--help']);
      assert.deepEqual([help.code, help.err], [0, '']);
      assert.match(help.out, new RegExp(`^Usage: plugboard ${process}\n[^]*docs/configuration.md`));
      const wrong = await run([process, 'now']);
      assert.equal(wrong.code, 2);
      assert.match(wrong.err, /unexpected argument 'now'/);
    }
    const enrolled = await run(['worker', 'enroll', 'production', 'beside']);
    assert.equal(enrolled.code, 0, 'a command that begins with the same word');
    assert.match(enrolled.out, /^pbw_\S+\n\nStart the worker with /);
  });

  test('wrong usage names what is wrong, and is exit code 2', async () => {
    const wrong = [
      [['types', '--url', 'here'], /'here' is not the URL of a control plane: give --url or PLUGBOARD_URL/],
      [['types', '--token-file', 'absent'], /--token-file names absent, which does not exist/],
      [['call', 'MyProject/mail', 'send', '--data', '@absent'], /--data names absent, which does not exist/],
      [['call', 'MyProject/mail', 'send', '--timeout', 'soon'], /--timeout must be a whole number of ms/],
      [
        ['call', 'MyProject/mail', 'send', '--timeout', '-1'],
        /^plugboard: Option '--timeout' [^\n]*\n\nUsage/,
      ],
    ] as const;
    for (const [args, message] of wrong) {
      const { code, err } = await run([...args]);
      assert.equal(code, 2, args.join(' '));
      assert.match(err, message);
    }
  });

  test('a control plane whose certificate is not trusted: how to trust it is said', async () => {
    const { keyPem, certPem } = createAuthority('CA of ours').issue({ commonName: 'a', ips: ['127.0.0.1'] });
    const server = createServer({ key: keyPem, cert: certPem }, (_request, response) =>
      response.end('{}'),
    ).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const { code, err } = await run(['types', '--url', `https://127.0.0.1:${port}`]);
      assert.equal(code, 3);
      assert.match(err, /^plugboard: No answer from [\s\S]*NODE_EXTRA_CA_CERTS/);
    } finally {
      server.close();
    }
  });

  test('one fault is said in one sentence, several also one by one', async () => {
    const call = (input: object) => run(['call', 'MyProject/mail', 'send', '--data', JSON.stringify(input)]);
    const one = await call({ to: ['b@example.com'], subject: 's', text: 'x', surprise: 1 });
    assert.equal(one.code, 1);
    assert.equal(one.err.match(/surprise/g)!.length, 1, one.err);
    const two = await call({ to: ['b@example.com'], subject: 1, text: 'x', surprise: 1 });
    assert.match(two.err, /\n {2}surprise: is not known\n/);
  });

  test('types, for people and as JSON', async () => {
    assert.match((await run(['types'])).out, /^email +.*\[send\]/m);
    const { out, code } = await run(['types', '--json']);
    assert.equal(code, 0);
    assert.equal(JSON.parse(out).resultCount, 15);
  });

  test('project create and token create; the token works and is within its grant', async () => {
    const made = await run(['project', 'create', 'FromCli', '--description', 'made here']);
    assert.deepEqual([made.code, made.err], [0, '']);
    const token = (
      await run(['token', 'create', 'ci', '--project', 'FromCli', '--permission', 'CONNECTIONS:VIEW'])
    ).out.trim();
    const seen = await plugboard.call('GET', '/apiops/projects/', undefined, { token });
    assert.deepEqual(
      seen.body.resultList.map(({ name }: { name: string }) => name),
      ['FromCli'],
    );
    const again = await run(['project', 'create', 'FromCli']);
    assert.equal(again.code, 1);
    assert.match(again.err, /already exists/);
  });

  test('test: exit code 0 when it works, 1 with the stage when not', async () => {
    const works = await run(['test', 'MyProject/mail']);
    assert.equal(works.code, 0, works.err);
    assert.match(works.out, /✓ connect/);
    const fails = await run(['test', 'MyProject/dead']);
    assert.equal(fails.code, 1);
    assert.match(fails.out, /✗ connect/);
    const json = JSON.parse((await run(['test', 'MyProject/dead', '--json'])).out);
    assert.equal(json.success, false);
  });

  test('call: data from an argument, a file and standard input', async () => {
    const mail = { to: ['b@example.com'], subject: 'by CLI', text: 'x' };
    const direct = await run(['call', 'MyProject/mail', 'send', '--data', JSON.stringify(mail)]);
    assert.equal(direct.code, 0, direct.err);
    assert.deepEqual(JSON.parse(direct.out).accepted, ['b@example.com']);
    const file = join(plugboard.directory, 'mail.json');
    await writeFile(file, JSON.stringify(mail));
    assert.equal((await run(['call', 'MyProject/mail', 'send', '--data', `@${file}`])).code, 0);
    assert.equal(smtp.mails.length, 2);
    const wrong = await run(['call', 'MyProject/mail', 'send', '--data', '{"to":"b@example.com"}']);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /subject|to/);
    assert.equal((await run(['call', 'MyProject/mail', 'send', '--data', '{broken'])).code, 2);
    assert.equal((await run(['call', 'MyProject', 'send'])).code, 2);
  });

  test('a token file in place of the variable; a token is never an argument', async () => {
    const file = join(plugboard.directory, 'token');
    await writeFile(file, `${plugboard.token}\n`);
    const env = { PLUGBOARD_TOKEN: '' };
    assert.equal((await run(['types', '--token-file', file], env)).code, 0);
    const none = await run(['types'], env);
    assert.equal(none.code, 2);
    assert.match(none.err, /no token/);
    assert.equal((await run(['types', '--token', plugboard.token], env)).code, 2);
  });

  test('nobody there: exit code 3', async () => {
    const { code, err } = await run(['types', '--url', 'http://127.0.0.1:1']);
    assert.equal(code, 3);
    assert.match(err, /No answer from/);
  });
});
