import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import {
  ConfigError,
  clientConfig,
  controlPlaneConfig,
  misspeltSettings,
  remoteWorkerConfig,
  workerConfig,
} from './config.ts';

const root = dirname(import.meta.dirname);
const namesIn = (text: string) => new Set(text.match(/PLUGBOARD_[A-Z_]+[A-Z]/g));

test('docs/configuration.md names exactly the variables that are read', async () => {
  const read = namesIn(await readFile(join(import.meta.dirname, 'config.ts'), 'utf8'));
  const documented = namesIn(await readFile(join(root, 'docs', 'configuration.md'), 'utf8'));
  assert.deepEqual([...documented].sort(), [...read].sort());
});

test('a misspelt variable is told with the one that may be meant, what others set beside ours is not', () => {
  const others = {
    PLUGBOARD_PORT: '1',
    PLUGBOARD_SERVICE_HOST: '10.0.0.1',
    PLUGBOARD_VERSION: '1',
    PATH: '/',
  };
  assert.deepEqual(misspeltSettings(others), []);
  assert.deepEqual(misspeltSettings({ ...others, PLUGBOARD_PRT: '1', PLUGBOARD_MASTERKEY_FILE: 'f' }), [
    'PLUGBOARD_PRT is no setting, and is ignored; did you mean PLUGBOARD_PORT?',
    'PLUGBOARD_MASTERKEY_FILE is no setting, and is ignored; did you mean PLUGBOARD_MASTER_KEY_FILE?',
  ]);
});

describe('control plane', () => {
  test('defaults', () => {
    const config = controlPlaneConfig({});
    assert.equal(config.host, '127.0.0.1');
    assert.equal(config.port, 8080);
    assert.equal(config.embeddedWorker, true);
    assert.deepEqual(config.bootstrapProjects, ['default']);
    assert.equal(config.secretsDirectory, `${config.dataDirectory}-secrets`);
    assert.equal(config.auditDays, 365);
  });

  test('security 24: another host than loopback without TLS stops the start', () => {
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'plugboard.example.com'])
      assert.throws(() => controlPlaneConfig({ PLUGBOARD_HOST: host }), /in clear/);
    controlPlaneConfig({ PLUGBOARD_HOST: '0.0.0.0', PLUGBOARD_INSECURE: '1' });
    controlPlaneConfig({ PLUGBOARD_HOST: '0.0.0.0', PLUGBOARD_TLS_CERT: 'c', PLUGBOARD_TLS_KEY: 'k' });
    for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost'])
      controlPlaneConfig({ PLUGBOARD_HOST: host });
  });

  test('all faults are said together, each naming its variable', () => {
    const faulty = {
      PLUGBOARD_PORT: '99999',
      PLUGBOARD_WORKER: 'maybe',
      PLUGBOARD_AUDIT_DAYS: '0',
      PLUGBOARD_DATABASE_URL: 'mysql://localhost',
      PLUGBOARD_TLS_CERT: 'only-one.pem',
      PLUGBOARD_LOG_LEVEL: 'loud',
      PLUGBOARD_BOOTSTRAP_PROJECTS: 'fine,not/fine',
    };
    assert.throws(
      () => controlPlaneConfig(faulty),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError);
        for (const name of Object.keys(faulty)) assert.match(error.message, new RegExp(name));
        return true;
      },
    );
  });

  test('an empty value is as good as none', () => {
    assert.equal(controlPlaneConfig({ PLUGBOARD_PORT: '', PLUGBOARD_HOST: ' ' }).port, 8080);
  });
});

describe('worker', () => {
  test('a worker of its own needs URL and token', () => {
    assert.throws(() => remoteWorkerConfig({}), /PLUGBOARD_URL[\s\S]*PLUGBOARD_WORKER_TOKEN/);
  });

  test('security 24: it refuses to speak in clear to another machine', () => {
    const token = { PLUGBOARD_WORKER_TOKEN: 't' };
    assert.throws(
      () => remoteWorkerConfig({ ...token, PLUGBOARD_URL: 'http://plugboard.example.com' }),
      /in clear/,
    );
    remoteWorkerConfig({ ...token, PLUGBOARD_URL: 'https://plugboard.example.com' });
    remoteWorkerConfig({ ...token, PLUGBOARD_URL: 'http://127.0.0.1:8080' });
  });

  test('the embedded one has no port unless it is set', () => {
    assert.equal(workerConfig(true, {}).api, undefined);
    assert.deepEqual(workerConfig(true, { PLUGBOARD_WORKER_API_PORT: '9000' }).api, {
      host: '127.0.0.1',
      port: 9000,
    });
    assert.deepEqual(workerConfig(false, {}).api, { host: '127.0.0.1', port: 8081 });
  });

  test('secret sources stand on lines of their own or between semicolons', () => {
    const read = (text: string) =>
      workerConfig(true, { PLUGBOARD_WORKER_SECRET_SOURCES: text }).secretSources;
    assert.deepEqual(read('P env/A *; Q env/B h\n\nR env/C h,i'), ['P env/A *', 'Q env/B h', 'R env/C h,i']);
    assert.deepEqual(workerConfig(true, {}).secretSources, []);
  });

  test('Vault needs its address and one way to log in', () => {
    const at = { PLUGBOARD_WORKER_VAULT_ADDR: 'https://vault.example.com:8200' };
    const token = { PLUGBOARD_WORKER_VAULT_TOKEN: 't' };
    const role = { PLUGBOARD_WORKER_VAULT_ROLE_ID: 'r', PLUGBOARD_WORKER_VAULT_SECRET_ID_FILE: '/run/id' };
    assert.equal(workerConfig(true, {}).vault, undefined);
    assert.deepEqual(workerConfig(true, { ...at, ...token }).vault?.token, 't');
    assert.deepEqual(workerConfig(true, { ...at, ...role }).vault?.appRole, {
      roleId: 'r',
      secretIdFile: '/run/id',
    });
    assert.throws(() => workerConfig(true, token), /PLUGBOARD_WORKER_VAULT_ADDR is required/);
    assert.throws(() => workerConfig(true, at), /one way to log in/);
    assert.throws(() => workerConfig(true, { ...at, ...token, ...role }), /one way to log in/);
    assert.throws(
      () => workerConfig(true, { ...at, PLUGBOARD_WORKER_VAULT_ROLE_ID: 'r' }),
      /belong together/,
    );
    for (const [address, said] of [
      ['http://vault.example.com', /in clear/],
      ['vault.example.com', /must be an http/],
      ['https://user@vault.example.com', /must be an http/],
    ] as const)
      assert.throws(() => workerConfig(true, { ...token, PLUGBOARD_WORKER_VAULT_ADDR: address }), said);
    workerConfig(true, { ...token, PLUGBOARD_WORKER_VAULT_ADDR: 'http://127.0.0.1:8200' });
  });

  test('durations carry a unit', () => {
    const ms = (text: string) => workerConfig(true, { PLUGBOARD_WORKER_OFFLINE_MAX: text }).offlineMaxMs;
    assert.equal(ms('90s'), 90_000);
    assert.equal(ms('7 days'), 7 * 86_400_000);
    assert.throws(() => ms('7'), /unit/);
  });
});

test('the command line finds the token file of a control plane beside it', () => {
  assert.match(clientConfig({}).adminTokenFile, /plugboard-data-secrets.admin-token$/);
  assert.equal(clientConfig({ PLUGBOARD_URL: 'https://x' }).url, 'https://x');
});
