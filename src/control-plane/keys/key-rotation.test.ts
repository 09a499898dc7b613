import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { runCli } from '../../cli/cli.ts';
import { buildControlPlane, type ControlPlane } from '../server/build-server.ts';
import type { MasterKey } from '../store/master-key.ts';
import { openDatabase } from '../store/open-database.ts';

const adminToken = 'the-admin-token-of-rotation-tests';
const base = '/apiops/projects/MyProject';
const newKey = () => createSecretKey(randomBytes(32));

describe('the rotation of master keys', () => {
  let directory: string;
  const [first, second] = [newKey(), newKey()];
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plugboard-rotation-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  async function start(masterKeys: MasterKey[]): Promise<ControlPlane> {
    const db = await openDatabase({ dataDirectory: join(directory, 'data') });
    try {
      return await buildControlPlane({
        db,
        masterKeys,
        secretsDirectory: join(directory, 'secrets'),
        adminToken,
        bootstrapProjects: ['MyProject'],
        auditDays: 365,
        deployTimeoutMs: 0,
        version: 'test',
        log: pino({ level: 'silent' }),
      });
    } catch (error) {
      await db.close();
      throw error;
    }
  }

  async function call(
    plane: ControlPlane,
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    body?: object,
  ) {
    const response = await plane.app.inject({
      method,
      url,
      headers: { authorization: `Bearer ${adminToken}`, 'idempotency-key': 'one-and-the-same' },
      ...(body ? { payload: body } : {}),
    });
    assert.equal(response.statusCode, 200, response.body);
    return response.json();
  }

  const inUse = async (plane: ControlPlane) =>
    (await call(plane, 'GET', '/apiops/keys/')).resultList.map(
      ({ newest, given, values }: { newest: boolean; given: boolean; values: number }) => ({
        newest,
        given,
        isUsed: values > 0,
      }),
    );

  it('re-encrypts everything online, goes on after an end, and then needs the old key no more', async () => {
    const one = await start([first]);
    for (let number = 0; number < 600; number++)
      await call(one, 'POST', `${base}/connections/mail-${number}/`, {
        name: `mail-${number}`,
        type: 'email',
        host: 'mail.example',
        auth: true,
        username: 'app',
        password: `password-${number}`,
      });
    await call(one, 'POST', `${base}/environmentVariables/HIDDEN/`, {
      global: true,
      globalValue: 'a-hidden-value',
      globalVisible: false,
    });
    await call(one, 'POST', `${base}/keystores/store/`, {
      keyStoreEnvironmentList: [
        {
          environmentName: 'production',
          type: 'PEM',
          file: Buffer.from(
            (await import('../../../test/services/certificates.ts')).createAuthority().caPem,
          ).toString('base64'),
          password: 'a-store-password',
        },
      ],
    });
    assert.deepEqual(await inUse(one), [{ newest: true, given: true, isUsed: true }]);
    await one.close();

    const two = await start([second, first]);
    assert.deepEqual(await inUse(two), [
      { newest: true, given: true, isUsed: false },
      { newest: false, given: true, isUsed: true },
    ]);
    const begun = await call(two, 'POST', '/apiops/keys/rotate/');
    assert.equal(begun.rotation.state, 'running');
    // Ends while it runs.
    await two.close();
    await assert.rejects(start([second]), /sealed with the master key .+ `plugboard keys rotate`/);

    const three = await start([second, first]);
    await three.listen({ host: '127.0.0.1', port: 0 });
    const address = three.app.server.address() as { port: number };
    const printed: string[] = [];
    process.env['PLUGBOARD_TOKEN'] = adminToken;
    const exitCode = await runCli(['keys', 'rotate', '--url', `http://127.0.0.1:${address.port}`], {
      out: (text) => printed.push(text),
      err: (text) => printed.push(text),
    });
    delete process.env['PLUGBOARD_TOKEN'];
    assert.equal(exitCode, 0, printed.join(''));
    assert.match(printed.join(''), /^done: /);
    assert.deepEqual(await inUse(three), [
      { newest: true, given: true, isUsed: true },
      { newest: false, given: true, isUsed: false },
    ]);
    await three.close();

    const four = await start([second]);
    const got = await call(four, 'GET', `${base}/connections/mail-599/`);
    assert.equal(got.resultList[0].password, 'password-599');
    const restored = await call(four, 'POST', `${base}/connections/mail-3/revisions/1/restore/`);
    assert.equal(restored.success, true);
    assert.equal(
      (await call(four, 'GET', `${base}/connections/mail-3/`)).resultList[0].password,
      'password-3',
    );
    await four.close();

    await assert.rejects(start([first]), /master key is not the one/);
  });
});
