import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startVault, type VaultService } from '../../../test/services/openbao.ts';
import { privateDirectory, startOrSkip } from '../../../test/services/service.ts';
import { startSmtp } from '../../../test/services/smtp.ts';
import { connectors } from '../../connectors/connectors.ts';
import { definitions } from '../../connectors/definitions.ts';
import type { Verdict } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { createNetwork } from '../egress.ts';
import { createEgressPolicy } from '../egress-policy.ts';
import { LiveConnections } from '../live-connections.ts';
import { createLog, until } from '../testing/fake-type.ts';
import { SecretSources } from './secret-sources.ts';
import { Vault, type VaultOptions } from './vault.ts';

const timeoutMs = 30_000;

describe('a real Vault or OpenBao', () => {
  let server: VaultService | undefined;
  let directory: Awaited<ReturnType<typeof privateDirectory>>;
  const log = createLog();
  const network = createNetwork({ policy: createEgressPolicy() });

  before(async (context) => {
    server = await startOrSkip(context, startVault);
    if (!server) return;
    directory = await privateDirectory('vault-credentials');
    await server.api('POST', 'secret/data/team/db', { data: { password: 'kv2-passw0rd', port: 5432 } });
    await server.api('POST', 'old/team/db', { password: 'kv1-passw0rd' });
    await server.api('PUT', 'sys/policies/acl/worker', {
      policy:
        'path "secret/data/team/*" { capabilities = ["read"] }\npath "old/team/*" { capabilities = ["read"] }',
    });
  });
  after(async () => {
    await server?.stop();
    await directory?.remove();
    for (const secret of ['kv1-passw0rd', 'kv2-passw0rd', server?.rootToken ?? 'none'])
      assert.ok(!log.text().includes(secret));
  });

  function open(t: TestContext, options: Omit<VaultOptions, 'address'>, address = server!.address): Vault {
    const vault = new Vault({ address, ...options }, network, log);
    t.after(() => vault.close());
    return vault;
  }
  async function failure(work: Promise<unknown>): Promise<AppError> {
    try {
      await work;
    } catch (error) {
      assert.ok(error instanceof AppError, String(error));
      return error;
    }
    return assert.fail('it was read');
  }
  async function workerToken(more: object = {}): Promise<string> {
    const made = await server!.api('POST', 'auth/token/create', { policies: ['worker'], ...more });
    return (made['auth'] as { client_token: string }).client_token;
  }
  async function appRole(settings: object): Promise<NonNullable<VaultOptions['appRole']>> {
    const { api } = server!;
    await api('POST', 'auth/approle/role/worker', { token_policies: ['worker'], ...settings });
    const { role_id } = (await api('GET', 'auth/approle/role/worker/role-id'))['data'] as { role_id: string };
    const made = (await api('POST', 'auth/approle/role/worker/secret-id'))['data'] as { secret_id: string };
    const secretIdFile = join(directory.path, `secret-id-${Math.random()}`);
    await writeFile(secretIdFile, `${made.secret_id}\n`);
    return { roleId: role_id, secretIdFile };
  }

  test('key-value engines of both versions', async (t) => {
    if (!server) return t.skip('no server');
    for (const token of [server.rootToken, await workerToken()]) {
      const vault = open(t, { token });
      assert.equal(await vault.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
      assert.equal(await vault.read('old', 'team/db', 'password'), 'kv1-passw0rd');
    }
  });

  test('what is not there or not allowed is said, by path and key', async (t) => {
    if (!server) return t.skip('no server');
    const vault = open(t, { token: await workerToken() });
    const cases: [() => Promise<unknown>, string, RegExp][] = [
      [
        () => vault.read('secret', 'team/db', 'nothing'),
        'missing_reference',
        /no key 'nothing' at 'secret\/team\/db'/,
      ],
      [
        () => vault.read('secret', 'team/nothing', 'x'),
        'missing_reference',
        /no secret at 'secret\/team\/nothing'/,
      ],
      [() => vault.read('old', 'team/nothing', 'x'), 'missing_reference', /no secret/],
      [() => vault.read('secret', 'team/db', 'port'), 'invalid_configuration', /is no text/],
      [
        () => vault.read('secret', 'other/db', 'x'),
        'invalid_configuration',
        /refuses the worker 'secret\/other\/db'/,
      ],
      [
        () => open(t, { token: 'not-a-token' }).read('secret', 'team/db', 'password'),
        'invalid_configuration',
        /refuses/,
      ],
    ];
    for (const [work, code, said] of cases) {
      const error = await failure(work());
      assert.equal(error.code, code);
      assert.match(error.message, said);
      assert.ok(!error.message.includes('not-a-token'));
    }
  });

  test('one that is away or forbidden by the egress policy is a failure that may pass', async (t) => {
    if (!server) return t.skip('no server');
    const away = await failure(open(t, { token: 't' }, 'http://127.0.0.1:9').read('secret', 'a', 'b'));
    assert.equal(away.code, 'unavailable');
    assert.ok(away.retryable);
    const metadata = await failure(
      open(t, { token: 't' }, 'http://169.254.169.254').read('secret', 'a', 'b'),
    );
    assert.match(metadata.message, /egress policy forbids/);
  });

  test('AppRole: the token is renewed, and made anew when it has ended or was revoked', async (t) => {
    if (!server) return t.skip('no server');
    const role = await appRole({ token_ttl: '2s', token_max_ttl: '5s' });
    const vault = open(t, { appRole: role });
    const deadline = Date.now() + 9_000;
    // Longer than one life, and longer than renewals may prolong it.
    while (Date.now() < deadline) {
      vault.forgetReads();
      assert.equal(await vault.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
      await sleep(500);
    }
    const long = open(t, { appRole: await appRole({ token_ttl: '1h', token_max_ttl: '2h' }) });
    assert.equal(await long.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
    const accessors = (await server.api('LIST', 'auth/token/accessors'))['data'] as { keys: string[] };
    for (const accessor of accessors.keys) {
      const found = await server
        .api('POST', 'auth/token/lookup-accessor', { accessor })
        .catch(() => undefined);
      if ((found?.['data'] as { path?: string })?.path === 'auth/approle/login')
        await server.api('POST', 'auth/token/revoke-accessor', { accessor });
    }
    long.forgetReads();
    assert.equal(await long.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
  });

  test('a token of its own is renewed', async (t) => {
    if (!server) return t.skip('no server');
    const token = await workerToken({ ttl: '2s', renewable: true });
    const vault = open(t, { token });
    const deadline = Date.now() + 6_000;
    while (Date.now() < deadline) {
      vault.forgetReads();
      assert.equal(await vault.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
      await sleep(500);
    }
  });

  test('a token file is read anew when its token is not good any more', async (t) => {
    if (!server) return t.skip('no server');
    const tokenFile = join(directory.path, 'token');
    const first = await workerToken();
    await writeFile(tokenFile, `${first}\n`);
    const vault = open(t, { tokenFile });
    assert.equal(await vault.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
    await writeFile(tokenFile, await workerToken());
    await server.api('POST', 'auth/token/revoke', { token: first });
    vault.forgetReads();
    assert.equal(await vault.read('secret', 'team/db', 'password'), 'kv2-passw0rd');
  });

  test('a connection follows its secret, and stays with the last good one while Vault is away', async (t) => {
    const mine = await startOrSkip(t, startVault);
    if (!mine) return;
    t.after(() => mine.stop());
    const account = { user: 'robot', password: 'first-canary-passw0rd' };
    const smtp = await startSmtp({ tls: 'none', mechanisms: ['PLAIN'], account });
    t.after(() => smtp.stop());
    const write = (password: string) => mine.api('POST', 'secret/data/mail', { data: { password } });
    await write(account.password);
    const vault = { address: mine.address, token: mine.rootToken };
    const allow = ['Team vault/secret/* 127.0.0.1'];
    const secrets = new SecretSources({ allow, environment: {}, vault }, network, log);
    const verdicts: Verdict[] = [];
    const live = new LiveConnections({
      definitions,
      connectors,
      network,
      secrets,
      log,
      environment: () => 'production',
      hasControlPlane: () => true,
      onVerdict: (verdict) => verdicts.push(verdict),
      limits: { secretCheckMs: 200, retryOpenMs: [100, 200] },
    });
    t.after(() => live.stop(0));
    const config = {
      host: '127.0.0.1',
      port: smtp.port,
      from: 'a@example.com',
      auth: true,
      username: account.user,
      password: 'secret://vault/secret/mail#password',
    };
    const put = (connection: string, more: object = {}, project = 'Team') =>
      live.put([
        { connection, project, name: connection, type: 'email', revision: 1, config: { ...config, ...more } },
      ]);
    const send = () =>
      live.operate('mail', 'send', { to: ['b@example.com'], subject: 's', text: 't' }, { timeoutMs });
    const steps = (connection: string) =>
      verdicts.filter((verdict) => verdict.connection === connection && verdict.step !== 'connected');

    put('mail');
    await send();
    assert.equal(smtp.mails[0]!.user, account.user);
    // The allowed project, another destination; the allowed destination, another project.
    put('elsewhere', { host: 'mail.evil.test' });
    put('foreign', {}, 'Other');
    await until(() => steps('elsewhere').length > 0 && steps('foreign').length > 0);
    for (const connection of ['elsewhere', 'foreign']) {
      assert.equal(steps(connection)[0]!.step, 'refused');
      assert.match(steps(connection)[0]!.message!, /does not allow project/);
    }

    await sleep(1_500);
    assert.equal(steps('mail').length, 1, 'an unchanged secret does nothing');
    account.password = 'second-canary-passw0rd';
    await write(account.password);
    await until(() => steps('mail').length === 2, 'the replacement');
    await send();

    await mine.stop();
    await sleep(1_500);
    await send();
    put('later');
    await until(() => steps('later').length > 0);
    assert.equal(steps('later')[0]!.code, 'unavailable');
    assert.equal(steps('later')[0]!.retryable, true);
    assert.equal(smtp.mails.length, 3);
    const said = JSON.stringify([verdicts, live.verdicts()]) + log.text();
    for (const secret of ['first-canary', 'second-canary', mine.rootToken]) assert.ok(!said.includes(secret));
  });
});
