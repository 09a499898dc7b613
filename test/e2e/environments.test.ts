import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { createAuthority } from '../services/certificates.ts';
import { type SmtpService, startSmtp } from '../services/smtp.ts';

const base = '/apiops/projects/MyProject';
const environments = ['development', 'production', 'test'] as const;
type Environment = (typeof environments)[number];
const passwords: Record<Environment, string> = {
  development: 'canary-development-password',
  production: 'canary-production-password',
  test: 'canary-test-password',
};

describe('one definition in three environments', () => {
  let app: Plugboard;
  const servers = new Map<Environment, SmtpService>();
  const authorities = new Map(environments.map((name) => [name, createAuthority(`CA of ${name}`)]));

  const each = <T>(of: (environment: Environment) => T) => environments.map(of);

  before(async () => {
    for (const environment of environments)
      servers.set(
        environment,
        await startSmtp({
          tls: 'starttls',
          certificate: authorities.get(environment)!.issue({
            commonName: 'localhost',
            names: ['localhost'],
            ips: ['127.0.0.1'],
          }),
          account: { user: 'app', password: passwords[environment] },
        }),
      );
    app = await startPlugboard({ deployTimeoutMs: 20_000 });
    for (const name of ['development', 'test']) {
      await app.ok('POST', '/apiops/environments/', { name, type: 'TEST' });
      const worker = await app.addWorker(name, `worker-${name}`);
      while (!worker.isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await app.ok('PUT', `${base}/`, { environments });
  });
  after(async () => {
    await app.stop();
    for (const server of servers.values()) await server.stop();
  });

  it('reaches three servers, each with its own host, port, password and trust', async () => {
    await app.ok('POST', `${base}/environmentVariables/`, {
      name: 'MAIL_HOST',
      global: true,
      globalValue: '127.0.0.1',
      environmentValueList: [{ environmentName: 'test', value: 'localhost' }],
    });
    await app.ok('POST', `${base}/environmentVariables/`, {
      name: 'MAIL_PORT',
      environmentValueList: each((environmentName) => ({
        environmentName,
        value: String(servers.get(environmentName)!.port),
      })),
    });
    await app.ok('POST', `${base}/environmentVariables/`, {
      name: 'MAIL_PASSWORD',
      environmentValueList: each((environmentName) => ({
        environmentName,
        value: passwords[environmentName],
        visible: false,
      })),
    });
    await app.ok('POST', `${base}/keystores/`, {
      name: 'mail-trust',
      keyStoreEnvironmentList: each((environmentName) => ({
        environmentName,
        type: 'PEM',
        file: Buffer.from(authorities.get(environmentName)!.caPem).toString('base64'),
        password: '',
      })),
    });
    const created = await app.ok('POST', `${base}/connections/mail/?prove=true`, {
      type: 'email',
      name: 'mail',
      host: '${MAIL_HOST}',
      port: '${MAIL_PORT}',
      enableStartTls: true,
      auth: true,
      username: 'app',
      password: '${MAIL_PASSWORD}',
      from: 'app@plugboard.test',
      trustStoreName: 'mail-trust',
    });
    assert.equal(created.deploymentResult.success, true, JSON.stringify(created));
    assert.deepEqual(
      created.deploymentResult.deploymentResults.map(
        ({ environmentName }: { environmentName: string }) => environmentName,
      ),
      environments,
    );

    for (const environment of environments)
      await app.ok('POST', `${base}/connections/mail/operations/send/?environment=${environment}`, {
        to: ['someone@plugboard.test'],
        subject: `in ${environment}`,
        text: 'hello',
      });
    for (const environment of environments) {
      const { mails } = servers.get(environment)!;
      assert.equal(mails.length, 1, environment);
      assert.match(mails[0]!.content.toString(), new RegExp(`Subject: in ${environment}`));
      assert.deepEqual([mails[0]!.user, mails[0]!.secure], ['app', true]);
    }

    const tested = await app.ok('POST', `${base}/connections/mail/test/`);
    assert.equal(tested.success, true, JSON.stringify(tested));
    assert.equal(tested.results.length, 3);
    for (const text of [...app.log, JSON.stringify(created), JSON.stringify(tested)])
      assert.ok(!text.includes('canary-'));
  });

  it('follows a changed value, and a changed trust, in the environment that it is of', async () => {
    const values = (test: string) => ({
      environmentValueList: each((environmentName) => ({
        environmentName,
        value: environmentName === 'test' ? test : null,
        visible: false,
      })),
    });
    const wrong = await app.ok(
      'PUT',
      `${base}/environmentVariables/MAIL_PASSWORD/`,
      values('not-the-password'),
    );
    assert.deepEqual(wrong.redeployedConnections, ['mail']);
    const failed = await app.ok('POST', `${base}/connections/mail/test/`);
    assert.deepEqual(
      failed.results.map(({ environmentName, success }: Record<string, unknown>) => [
        environmentName,
        success,
      ]),
      [
        ['development', true],
        ['production', true],
        ['test', false],
      ],
    );
    await app.ok('PUT', `${base}/environmentVariables/MAIL_PASSWORD/`, values(passwords.test));

    const stranger = createAuthority('nobody');
    const trust = (pem: string) => ({
      keyStoreEnvironmentList: each((environmentName) => ({
        environmentName,
        type: 'PEM',
        ...(environmentName === 'production'
          ? { file: Buffer.from(pem).toString('base64'), password: '' }
          : {}),
      })),
    });
    await app.ok('PUT', `${base}/keystores/mail-trust/`, trust(stranger.caPem));
    const send = (environment: Environment) =>
      app.call('POST', `${base}/connections/mail/operations/send/?environment=${environment}`, {
        to: ['someone@plugboard.test'],
        subject: 'again',
        text: 'hello',
      });
    const untrusted = await send('production');
    assert.equal(untrusted.status, 502, untrusted.text);
    assert.match(untrusted.text, /certificate/i);
    assert.equal((await send('development')).status, 200);
    await app.ok('PUT', `${base}/keystores/mail-trust/`, trust(authorities.get('production')!.caPem));
    assert.equal((await send('production')).status, 200);
    assert.equal((await send('test')).status, 200);
  });
});

describe('an environment that its project has left', () => {
  it('stays in what Get returns, and Update accepts it there, and in no other connection', async () => {
    const app = await startPlugboard({ withWorker: false });
    try {
      await app.ok('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
      await app.ok('PUT', `${base}/`, { environments: ['production', 'test'] });
      const one = `${base}/connections/hook/`;
      const hook = { type: 'webhook', name: 'hook', fullUrl: 'http://127.0.0.1:9/', environments: ['test'] };
      await app.ok('POST', `${one}?async=true`, hook);
      await app.ok('PUT', `${base}/`, { environments: ['production'] });
      const stored = (await app.call('GET', one)).body.resultList[0];
      assert.deepEqual(stored.environments, ['test']);
      await app.ok('PUT', `${one}?async=true`, stored);
      assert.deepEqual((await app.call('GET', one)).body.resultList[0], stored);
      const other = await app.call('POST', `${base}/connections/other/?async=true`, {
        ...hook,
        name: 'other',
      });
      assert.deepEqual([other.status, other.body.validation_errors[0].field], [400, 'environments[0]']);
      const wider = await app.call('PUT', one, { ...stored, environments: ['test', 'elsewhere'] });
      assert.deepEqual([wider.status, wider.body.validation_errors[0].field], [400, 'environments[1]']);
    } finally {
      await app.stop();
    }
  });
});
