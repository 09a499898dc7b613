import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { type KeystoreTools, makeAuthority, openKeystoreTools } from '../../test/services/keystore-tools.ts';
import { startPostgresql } from '../../test/services/postgresql.ts';
import { startOrSkip } from '../../test/services/service.ts';
import { startSmtp } from '../../test/services/smtp.ts';
import { connectors } from '../connectors/connectors.ts';
import { definitions } from '../connectors/definitions.ts';
import type { TestResult, TrustObjects, Verdict } from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import { createNetwork } from './egress.ts';
import { createEgressPolicy } from './egress-policy.ts';
import { LiveConnections } from './live-connections.ts';
import { runTest } from './run-test.ts';
import { createLog, until } from './testing/fake-type.ts';

const password = 'keystore-passw0rd-canary';
const timeoutMs = 30_000;

describe('TLS with keystores of the real keytool and openssl', () => {
  let tools: KeystoreTools | undefined;
  let truststore: TrustObjects['keystores'][string];
  let stranger: TrustObjects['keystores'][string];
  let keystore: TrustObjects['keystores'][string];

  const verdicts: Verdict[] = [];
  const log = createLog();
  const network = createNetwork({ policy: createEgressPolicy() });
  const live = new LiveConnections({
    definitions,
    connectors,
    network,
    log,
    environment: () => 'production',
    hasControlPlane: () => true,
    onVerdict: (verdict) => verdicts.push(verdict),
  });

  before(async (context) => {
    tools = await startOrSkip(context, openKeystoreTools);
    if (!tools) return;
    const { keytool, openssl, read } = tools;
    await makeAuthority(tools);
    const pass = ['-storepass', password];
    await keytool(
      '-importcert',
      '-noprompt',
      '-alias',
      'root',
      '-file',
      'root.pem',
      '-keystore',
      'trust.jks',
      '-storetype',
      'JKS',
      ...pass,
    );
    await keytool(
      '-genkeypair',
      '-alias',
      'x',
      '-keyalg',
      'EC',
      '-dname',
      'CN=stranger',
      '-keystore',
      'stranger.p12',
      '-storetype',
      'PKCS12',
      ...pass,
    );
    await openssl(
      'pkcs12',
      '-export',
      '-legacy',
      '-inkey',
      'client.key',
      '-in',
      'client.pem',
      '-certfile',
      'intermediate.pem',
      '-out',
      'client.p12',
      '-passout',
      `pass:${password}`,
    );
    const stored = async (type: 'JKS' | 'PKCS12', name: string) => ({
      type,
      file: (await read(name)).toString('base64'),
      password,
    });
    truststore = await stored('JKS', 'trust.jks');
    stranger = await stored('PKCS12', 'stranger.p12');
    keystore = await stored('PKCS12', 'client.p12');
  });
  after(async () => {
    await live.stop(0);
    await tools?.[Symbol.asyncDispose]();
    const said = log.text() + JSON.stringify(verdicts);
    assert.ok(!said.includes(password));
    assert.ok(!said.includes('PRIVATE KEY'));
  });

  const objectsOf = (keystores: TrustObjects['keystores']): TrustObjects => ({ keystores, certificates: {} });
  const chainPem = async (name: string) =>
    Buffer.concat([await tools!.read(`${name}.pem`), await tools!.read('intermediate.pem')]);

  let count = 0;
  /** Deploys as a control plane does, and answers the verdict on it. */
  async function deploy(
    connection: string,
    revision: number,
    type: string,
    config: object,
    objects?: TrustObjects,
  ): Promise<Verdict> {
    const before = verdicts.length;
    live.put([
      {
        connection,
        project: 'P',
        name: connection,
        type,
        revision,
        config: { ...config },
        ...(objects ? { objects } : {}),
      },
    ]);
    const isNew = (verdict: Verdict) =>
      verdict.connection === connection && (verdict.step === 'valid' || verdict.step === 'refused');
    await until(() => verdicts.slice(before).some(isNew), `a verdict on ${connection}`);
    return verdicts.slice(before).find(isNew)!;
  }
  async function codeOf(work: Promise<unknown>): Promise<string> {
    try {
      await work;
      return 'succeeded';
    } catch (error) {
      assert.ok(error instanceof AppError, String(error));
      return error.code;
    }
  }
  const testOf = (type: string, config: object, objects: TrustObjects): Promise<TestResult> =>
    runTest(
      { definitions, connectors, network, log, environment: 'production' },
      { project: 'P', name: `test-${++count}`, type, config: { ...config }, objects, timeoutMs },
      () => {},
    );

  test('webhook: a server that demands client certificates', async (t) => {
    if (!tools) return t.skip('no tools');
    const server = createServer(
      {
        cert: await chainPem('server'),
        key: await tools.read('server.key'),
        ca: await tools.read('root.pem'),
        requestCert: true,
        rejectUnauthorized: true,
      },
      (request, response) => response.end((request.socket as TLSSocket).getPeerCertificate().subject.CN),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const config = {
      fullUrl: url,
      httpMethod: 'POST',
      trustStoreName: 'trust',
      keyStoreName: 'client',
      timeout: 10,
    };
    const call = (connection: string) =>
      live.operate(connection, 'call', { body: 'x' }, { timeoutMs }) as Promise<{
        status: number;
        body: string;
      }>;

    await deploy('hook', 1, 'webhook', config, objectsOf({ trust: truststore, client: keystore }));
    assert.equal((await call('hook')).body, 'plugboard');
    assert.equal(
      (await testOf('webhook', config, objectsOf({ trust: truststore, client: keystore }))).success,
      true,
    );

    // Without the client certificate the server ends it; without the root we do.
    await deploy('bare', 1, 'webhook', { ...config, keyStoreName: null }, objectsOf({ trust: truststore }));
    assert.notEqual(await codeOf(call('bare')), 'succeeded');
    await deploy('other', 1, 'webhook', config, objectsOf({ trust: stranger, client: keystore }));
    assert.equal(await codeOf(call('other')), 'certificate_untrusted');
    await deploy('roots', 1, 'webhook', { ...config, trustStoreName: null }, objectsOf({ client: keystore }));
    assert.equal(await codeOf(call('roots')), 'certificate_untrusted');

    // One certificate to trust may be the server's own, whoever issued it.
    const own = { ...config, trustStoreName: null, certificateName: 'server' };
    const certificates = { server: (await tools.read('server.pem')).toString() };
    await deploy('pinned', 1, 'webhook', own, { keystores: { client: keystore }, certificates });
    assert.equal((await call('pinned')).body, 'plugboard');
  });

  test('a connection is refused for what is missing, and taken by itself once it comes', async (t) => {
    if (!tools) return t.skip('no tools');
    const config = { fullUrl: 'https://127.0.0.1:9/', trustStoreName: 'late', keyStoreName: 'client' };
    const refused = await deploy('waiting', 3, 'webhook', config, objectsOf({ client: keystore }));
    assert.equal(refused.step, 'refused');
    assert.equal(refused.code, 'missing_reference');
    assert.match(refused.message!, /trustStoreName: there is no keystore 'late'/);
    const wrong = { ...truststore, password: 'not-the-password' };
    const locked = await deploy(
      'waiting',
      3,
      'webhook',
      config,
      objectsOf({ late: wrong, client: keystore }),
    );
    assert.equal(locked.code, 'invalid_configuration');
    assert.match(locked.message!, /keystore 'late' cannot be opened: The password is wrong/);
    const taken = await deploy(
      'waiting',
      3,
      'webhook',
      config,
      objectsOf({ late: truststore, client: keystore }),
    );
    assert.equal(taken.step, 'valid');
    // Gone again: the client that serves goes on.
    const gone = await deploy('waiting', 3, 'webhook', config, objectsOf({ client: keystore }));
    assert.equal(gone.step, 'refused');
    assert.equal(gone.serving, 3);
  });

  test('email: STARTTLS with a private authority', async (t) => {
    if (!tools) return t.skip('no tools');
    const certificate = {
      certPem: (await chainPem('server')).toString(),
      keyPem: (await tools.read('server.key')).toString(),
    };
    const smtp = await startSmtp({ tls: 'starttls', certificate });
    t.after(() => smtp.stop());
    const config = {
      host: '127.0.0.1',
      port: smtp.port,
      enableStartTls: true,
      from: 'a@example.com',
      trustStoreName: 'trust',
    };
    const send = (connection: string) =>
      live.operate(connection, 'send', { to: ['b@example.com'], subject: 's', text: 't' }, { timeoutMs });
    await deploy('mail', 1, 'email', config, objectsOf({ trust: truststore }));
    await send('mail');
    assert.equal(smtp.mails.length, 1);
    assert.equal(smtp.mails[0]!.secure, true);
    await deploy('mail-other', 1, 'email', config, objectsOf({ trust: stranger }));
    assert.equal(await codeOf(send('mail-other')), 'certificate_untrusted');
    await deploy('mail-roots', 1, 'email', { ...config, trustStoreName: null });
    assert.equal(await codeOf(send('mail-roots')), 'certificate_untrusted');
    assert.equal(smtp.mails.length, 1);
  });

  test('database: PostgreSQL that demands a client certificate of the account', async (t) => {
    if (!tools) return t.skip('no tools');
    await tools.write('server-chain.pem', await chainPem('server'));
    const { path } = tools;
    const postgres = await startOrSkip(t, () =>
      startPostgresql({
        tls: {
          certFile: path('server-chain.pem'),
          keyFile: path('server.key'),
          clientCaFile: path('root.pem'),
          certificateUser: 'plugboard',
        },
        users: [{ user: 'plugboard', password: 'pg-passw0rd' }],
      }),
    );
    if (!postgres) return;
    t.after(() => postgres.stop());
    const config = {
      jdbcUrl: `jdbc:postgresql://127.0.0.1:${postgres.port}/test`,
      username: 'plugboard',
      password: 'pg-passw0rd',
      trustStoreName: 'trust',
      keyStoreName: 'client',
    };
    const sql = 'select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()';
    const query = (connection: string) =>
      live.operate(connection, 'query', { sql }, { timeoutMs }) as Promise<{ rows: unknown[] }>;
    const both = objectsOf({ trust: truststore, client: keystore });
    await deploy('db', 1, 'database', config, both);
    assert.match(JSON.stringify((await query('db')).rows), /true.*CN=plugboard/);
    assert.equal((await testOf('database', config, both)).success, true);
    await deploy(
      'db-bare',
      1,
      'database',
      { ...config, keyStoreName: null },
      objectsOf({ trust: truststore }),
    );
    assert.notEqual(await codeOf(query('db-bare')), 'succeeded');
    await deploy('db-other', 1, 'database', config, objectsOf({ trust: stranger, client: keystore }));
    assert.equal(await codeOf(query('db-other')), 'certificate_untrusted');
  });
});
