import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredConnection, HostKey } from '../../src/contract/worker-protocol.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { ScriptedWorker } from '../harness/scripted-worker.ts';
import { startPostgresql } from '../services/postgresql.ts';
import { startOrSkip } from '../services/service.ts';

const base = '/apiops/projects/MyProject';

const body = (name: string, changes: object = {}) => ({
  type: 'linux-script',
  name,
  hostName: 'app1.example.com',
  username: 'deploy',
  password: 'canary-password',
  ...changes,
});

const key = (name: string, server = 'app1.example.com:22'): HostKey => ({
  server,
  algorithm: 'ssh-ed25519',
  fingerprint: `SHA256:${name.padEnd(43, 'x')}`,
});

type Database = 'SQLite' | 'PostgreSQL';

for (const database of ['SQLite', 'PostgreSQL'] as Database[])
  describe(`pinned host keys on ${database}`, () => {
    let app: Plugboard | undefined;
    let endDatabase = async () => {};

    before(async (t) => {
      if (database === 'SQLite') {
        app = await startPlugboard({ withWorker: false });
      } else {
        const server = await startOrSkip(t, startPostgresql);
        if (!server) return;
        endDatabase = async () => server.stop();
        await server.createDatabase('pins', 'en-US');
        app = await startPlugboard({ withWorker: false, databaseUrl: server.url('pins') });
      }
      await ok('POST', '/apiops/environments/', { name: 'test', type: 'TEST' });
      await ok('PUT', `${base}/`, { environments: ['production', 'test'] });
    });
    after(async () => {
      await app?.stop();
      await endDatabase();
    });

    /** A worker that has caught up, so that what comes next is a delta. */
    const enter = async (name: string, environment = 'production') => {
      const worker = await ScriptedWorker.connect(app!, name, { environment });
      await worker.next('snapshot');
      return worker;
    };
    const ok = async (method: string, path: string, given?: unknown) => {
      const answer = await app!.call(method, path, given);
      assert.equal(answer.status, 200, answer.text);
      return answer.body;
    };
    const path = (name: string) => `${base}/connections/${name}/`;
    const create = async (name: string, changes: object = {}) => {
      await ok('POST', `${path(name)}?async=true`, body(name, changes));
    };
    /** What a worker is sent of a connection next. */
    const desired = async (worker: ScriptedWorker, name: string): Promise<DesiredConnection> => {
      const isPut = ({ put }: { put: DesiredConnection[] }) => put.some((one) => one.name === name);
      return (await worker.next('delta', isPut)).put.find((one) => one.name === name)!;
    };
    const see = (worker: ScriptedWorker, connection: string, seen: HostKey) =>
      worker.say({ kind: 'host-keys', items: [{ connection, ...seen }] });
    const statusIn = async (name: string, environment = 'production') =>
      (await ok('GET', `${path(name)}deployments/`)).resultList.find(
        (one: { environmentName: string }) => one.environmentName === environment,
      )?.hostKey;
    const until = async (what: string, holds: () => Promise<boolean>) => {
      const deadline = Date.now() + 20_000;
      while (!(await holds())) {
        assert.ok(Date.now() < deadline, what);
        await sleep(20);
      }
    };
    const trust = (name: string, fingerprint: string, query = '?environment=production&async=true') =>
      app!.call('POST', `${path(name)}trust-host-key/${query}`, { fingerprint });
    const check = (name: string, work: () => Promise<void>) =>
      test(name, async (t) => (app ? work() : t.skip('PostgreSQL is not installed')));

    check(
      'the first that is seen is pinned, for its environment alone, and told to all workers',
      async () => {
        const [one, two] = [await enter('one'), await enter('two')];
        const other = await enter('other', 'test');
        await create('first');
        const { connection, hostKeys } = await desired(one, 'first');
        assert.equal(hostKeys, undefined);
        await desired(two, 'first');
        await desired(other, 'first');
        see(one, connection, key('one'));
        for (const worker of [one, two])
          assert.deepEqual((await desired(worker, 'first')).hostKeys, [key('one')]);
        assert.equal((await desired(other, 'first')).hostKeys, undefined);
        see(other, connection, key('another'));
        assert.deepEqual((await desired(other, 'first')).hostKeys, [key('another')]);
        const status = await statusIn('first');
        assert.deepEqual(
          { ...status, pinnedAt: null },
          { ...key('one'), pinnedAt: null, pinnedBy: 'worker:one' },
        );
        assert.equal((await statusIn('first', 'test')).fingerprint, key('another').fingerprint);
        const later = await ScriptedWorker.connect(app!, 'later');
        const [item] = (await later.next('snapshot')).items.filter(({ name }) => name === 'first');
        assert.deepEqual(item?.hostKeys, [key('one')]);
        const audit = await ok('GET', '/apiops/audit/?project=MyProject&action=connection.pin-host-key');
        assert.equal(audit.resultCount, 2);
        for (const worker of [one, two, other, later]) worker.close();
      },
    );

    check(
      'of two workers that see different keys the first commit wins, and the other is the refused one',
      async () => {
        const [one, two] = [await enter('one'), await enter('two')];
        await create('race');
        const { connection } = await desired(one, 'race');
        await desired(two, 'race');
        see(one, connection, key('one'));
        see(two, connection, key('two'));
        const [pinned] = (await desired(one, 'race')).hostKeys!;
        assert.deepEqual((await desired(two, 'race')).hostKeys, [pinned]);
        const loser = pinned!.fingerprint === key('one').fingerprint ? key('two') : key('one');
        await until('the other is known as refused', async () => {
          const { refused } = await statusIn('race');
          return refused?.fingerprint === loser.fingerprint;
        });
        assert.equal((await statusIn('race')).fingerprint, pinned!.fingerprint);

        assert.equal((await trust('race', loser.fingerprint)).status, 200);
        for (const worker of [one, two]) assert.deepEqual((await desired(worker, 'race')).hostKeys, [loser]);
        assert.equal((await statusIn('race')).refused, undefined);
        for (const worker of [one, two]) worker.close();
      },
    );

    check('what was not seen, is malformed, or belongs to another environment is not accepted', async () => {
      const worker = await enter('one');
      await create('strict');
      const { connection } = await desired(worker, 'strict');
      const unseen = await trust('strict', key('two').fingerprint);
      assert.equal(unseen.status, 400);
      assert.match(unseen.body.error_description, /^fingerprint is of no host key .*none was refused$/);
      see(worker, connection, key('one'));
      await desired(worker, 'strict');
      see(worker, connection, key('two'));
      await until('refused', async () => (await statusIn('strict')).refused !== undefined);
      for (const wrong of ['SHA256:short', 'MD5:16:27:ac:a5', '', 7 as never, `${key('two').fingerprint} `])
        assert.equal((await trust('strict', wrong)).status, 400);
      assert.equal((await trust('strict', key('three').fingerprint)).status, 400);
      assert.equal((await trust('strict', key('two').fingerprint, '?environment=test')).status, 400);
      assert.equal((await trust('strict', key('two').fingerprint, '?environment=none')).status, 400);
      const ambiguous = await trust('strict', key('two').fingerprint, '');
      assert.equal(ambiguous.body.validation_errors[0].field, 'environment');
      assert.equal((await trust('nothing', key('two').fingerprint)).status, 404);
      assert.equal((await statusIn('strict')).fingerprint, key('one').fingerprint);
      worker.close();
    });

    check('accepting needs MANAGE and TEST, is audited and published; twice is once', async () => {
      const worker = await enter('one');
      await create('rights');
      const { connection } = await desired(worker, 'rights');
      see(worker, connection, key('one'));
      await desired(worker, 'rights');
      see(worker, connection, key('two'));
      await until('refused', async () => (await statusIn('rights')).refused !== undefined);
      const ask = async (permissions: string[], environments?: string[]) => {
        const { token } = await ok('POST', '/apiops/tokens/', {
          name: permissions.join(),
          expiresAt: null,
          grants: [{ project: 'MyProject', permissions, ...(environments ? { environments } : {}) }],
        });
        return app!.call(
          'POST',
          `${path('rights')}trust-host-key/?environment=production&async=true`,
          { fingerprint: key('two').fingerprint },
          { token },
        );
      };
      assert.equal((await ask(['CONNECTIONS:MANAGE'])).status, 403);
      assert.equal((await ask(['CONNECTIONS:TEST', 'CONNECTIONS:VIEW'])).status, 403);
      const both = ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'];
      assert.equal((await ask(both, ['test'])).status, 403);

      const stream = await fetch(`${app!.url}/apiops/events/`, {
        headers: { authorization: `Bearer ${app!.token}` },
      });
      const events = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
      assert.equal((await ask(both, ['production'])).status, 200);
      let text = '';
      while (!text.includes('host-key-trusted')) {
        const { value, done } = await events.read();
        assert.ok(!done);
        text += value;
      }
      await events.cancel();
      assert.match(text, /"connection":"rights","action":"host-key-trusted"/);
      assert.equal((await ask(both)).status, 200, 'again');
      const audit = await ok(
        'GET',
        '/apiops/audit/?project=MyProject&action=connection.trust-host-key&target=rights',
      );
      assert.equal(audit.resultCount, 1);
      assert.equal(audit.resultList[0].details.before, key('one').fingerprint);
      assert.equal(audit.resultList[0].details.fingerprint, key('two').fingerprint);
      worker.close();
    });

    check('a first pin is an event, for whoever may see the connection in that environment', async () => {
      const worker = await enter('one');
      await create('watched');
      const { connection } = await desired(worker, 'watched');
      const listen = async (environments: string[]) => {
        const grants = [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'], environments }];
        const { token } = await ok('POST', '/apiops/tokens/', { name: environments.join(), grants });
        const stream = await fetch(`${app!.url}/apiops/events/`, {
          headers: { authorization: `Bearer ${token}` },
        });
        const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
        let text = '';
        return {
          async until(word: string) {
            while (!text.includes(word)) {
              const { value, done } = await reader.read();
              assert.ok(!done);
              text += value;
            }
            return text;
          },
          end: () => reader.cancel(),
        };
      };
      const [here, elsewhere] = [await listen(['production']), await listen(['test'])];
      see(worker, connection, key('one'));
      await desired(worker, 'watched');
      // Neither the same again nor another one is a first pin.
      see(worker, connection, key('one'));
      see(worker, connection, key('two'));
      await until('the other is known as refused', async () => Boolean((await statusIn('watched')).refused));
      await ok('POST', `${path('watched')}deploy/?async=true`);
      const [seen, unseen] = await Promise.all([here.until('deployed'), elsewhere.until('deployed')]);
      const pins = seen.split('\n').filter((line) => line.includes('host-key-pinned'));
      assert.deepEqual(
        pins.map((line) => JSON.parse(line.replace('data: ', ''))),
        [
          {
            project: 'MyProject',
            connection: 'watched',
            action: 'host-key-pinned',
            environmentName: 'production',
            ...key('one'),
            by: 'worker:one',
          },
        ],
      );
      assert.doesNotMatch(unseen, /host-key-pinned/);
      await Promise.all([here.end(), elsewhere.end()]);
      worker.close();
    });

    check(
      'another destination, a configured fingerprint and deletion forget the pin; another change keeps it',
      async () => {
        const worker = await enter('one');
        await create('moves');
        const { connection } = await desired(worker, 'moves');
        see(worker, connection, key('one'));
        await desired(worker, 'moves');
        const change = async (changes: object) => {
          await ok('PUT', `${path('moves')}?async=true`, body('moves', changes));
          return desired(worker, 'moves');
        };
        assert.deepEqual((await change({ commandTimeout: 5000 })).hostKeys, [key('one')]);
        assert.equal((await change({ sshPort: 2222 })).hostKeys, undefined);
        assert.equal(await statusIn('moves'), undefined);
        assert.equal((await change({})).hostKeys, undefined, 'also on the way back');
        see(worker, connection, key('two'));
        assert.deepEqual((await desired(worker, 'moves')).hostKeys, [key('two')]);
        assert.equal((await change({ hostKeyFingerprint: key('three').fingerprint })).hostKeys, undefined);
        const refused = await trust('moves', key('two').fingerprint);
        assert.equal(refused.status, 400);
        assert.match(refused.body.error_description, /hostKeyFingerprint is not set/);
        await change({});
        see(worker, connection, key('four'));
        await desired(worker, 'moves');
        await ok('DELETE', `${path('moves')}?async=true`);
        const left = await app!.db.all('select server from host_keys where connection_id = $1', [connection]);
        assert.deepEqual(left, []);
        see(worker, connection, key('five'));
        const { resultList } = await ok('GET', `${path('moves')}revisions/`);
        await ok('POST', `${path('moves')}revisions/${resultList[0].revision}/restore/?async=true`);
        assert.equal((await desired(worker, 'moves')).hostKeys, undefined, 'a restored one begins anew');
        worker.close();
      },
    );

    check('a host from a variable: each server has a key of its own', async () => {
      await ok('POST', `${base}/environmentVariables/`, {
        name: 'SSH_HOST',
        global: true,
        globalValue: 'a.example.com',
        environmentValueList: [],
      });
      const worker = await enter('one');
      await create('variable', { hostName: '${SSH_HOST}' });
      const { connection } = await desired(worker, 'variable');
      see(worker, connection, key('a', 'a.example.com:22'));
      await desired(worker, 'variable');
      assert.equal((await statusIn('variable')).server, 'a.example.com:22');
      await ok('PUT', `${base}/environmentVariables/SSH_HOST/?deployTimeoutMs=1`, {
        name: 'SSH_HOST',
        global: true,
        globalValue: 'b.example.com',
        environmentValueList: [],
      });
      const moved = await desired(worker, 'variable');
      assert.equal(moved.config['hostName'], 'b.example.com');
      assert.equal(
        await statusIn('variable'),
        undefined,
        'the key of another server says nothing of this one',
      );
      see(worker, connection, key('b', 'b.example.com:22'));
      await desired(worker, 'variable');
      assert.equal((await statusIn('variable')).fingerprint, key('b').fingerprint);
      worker.close();
    });

    check('what a worker may not say is passed over', async () => {
      const worker = await enter('one');
      await create('only-test', { environments: ['test'] });
      await ok('POST', `${path('hook')}?async=true`, {
        type: 'webhook',
        name: 'hook',
        fullUrl: 'http://a.example.com/',
      });
      await create('here');
      const { connection } = await desired(worker, 'here');
      const rows = await app!.db.all<{ id: string; name: string }>('select id, name from connections');
      const idOf = (name: string) => rows.find((row) => row.name === name)!.id;
      see(worker, idOf('only-test'), key('one'));
      see(worker, idOf('hook'), key('one'));
      see(worker, 'unknown', key('one'));
      worker.say({ kind: 'host-keys', items: 'nothing' as never });
      for (const wrong of [
        null,
        7,
        { connection, ...key('one'), fingerprint: 'SHA256:short' },
        { connection, ...key('one'), server: 'two words' },
        { connection, ...key('one'), algorithm: '\u0000' },
        { connection: {}, ...key('one') },
      ])
        worker.say({ kind: 'host-keys', items: [wrong as never] });
      see(worker, connection, key('right'));
      assert.deepEqual((await desired(worker, 'here')).hostKeys, [key('right')]);
      const pinned = await app!.db.all<{ connection_id: string }>(
        "select connection_id from host_keys where connection_id in ($1, $2) or fingerprint = 'SHA256:short'",
        [idOf('only-test'), idOf('hook')],
      );
      assert.deepEqual(pinned, []);
      worker.close();
    });

    check('a type without host keys costs no question', async () => {
      const asked: string[] = [];
      const { all } = app!.db;
      app!.db.all = (sql, values) => {
        if (sql.includes('host_keys')) asked.push(sql);
        return all.call(app!.db, sql, values) as never;
      };
      try {
        const worker = await enter('counts');
        const before = asked.length;
        await ok('POST', `${path('plain')}?async=true`, {
          type: 'webhook',
          name: 'plain',
          fullUrl: 'http://a.example.com/',
        });
        await desired(worker, 'plain');
        await ok('GET', `${path('plain')}deployments/`);
        assert.deepEqual(asked.slice(before), []);
        await create('ssh');
        await desired(worker, 'ssh');
        assert.ok(asked.length > before, 'the counter counts');
        worker.close();
      } finally {
        app!.db.all = all;
      }
    });
  });
