import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { type ConnectorSubject, connectorContract } from '../../../test/contract/connector-contract.ts';
import { databaseConfig, openDatabase, rejected } from '../../../test/contract/database-subject.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startMongodb } from '../../../test/services/mongodb.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import type { TestResult } from '../../contract/worker-protocol.ts';
import { createNetwork } from '../../worker/egress.ts';
import { createEgressPolicy } from '../../worker/egress-policy.ts';
import type { Network } from '../connector.ts';
import { databaseConnector } from './database.connector.ts';
import type { database } from './database.definition.ts';
import type { DatabaseConfig } from './database-client.ts';

const authority = createAuthority();

const base = databaseConfig({ dbType: 'MONGODB', useCredentials: false });

function configAt(
  { host, port }: { host: string; port: number },
  parameters = '',
  overrides: Partial<DatabaseConfig> = {},
): DatabaseConfig {
  return { ...base, jdbcUrl: `mongodb://${host}:${port}/orders?${parameters}`, ...overrides };
}

const open = (t: TestContext, config: DatabaseConfig, network?: Network) =>
  openDatabase(t, config, { trust: trustIn(authority.caPem), ...(network ? { network } : {}) });

for (const tls of [false, true])
  test(`MongoDB ${tls ? 'over TLS' : 'in clear'} keeps the contract`, async (t) => {
    const certificate = authority.issue({ commonName: 'mongo.test', ips: ['127.0.0.1'] });
    const server = await startOrSkip(t, () => startMongodb(tls ? { certificate } : {}));
    if (!server) return;
    t.after(() => server.stop());
    const parameters = tls ? 'tls=true' : '';
    const subject: ConnectorSubject<typeof database, Awaited<ReturnType<typeof open>>['live']> = {
      connector: databaseConnector,
      config: () => configAt(server, parameters),
      configAt: ({ timeoutMs, ...target }) => configAt(target, parameters, { connectionTimeout: timeoutMs }),
      operate: (live, call) =>
        databaseConnector.operations.insert(
          live,
          { collection: 'said', documents: [{ text: 'hello' }] },
          call,
        ),
      restart: () => server.restart(),
      trust: trustIn(authority.caPem),
      silentAt: tls ? 'tls' : 'authenticate',
      garbledAt: tls ? 'tls' : 'authenticate',
      secrets: [],
      tls,
    };
    await connectorContract(t, 'MongoDB', subject);
  });

test('MongoDB: one server, what operations do', async (t) => {
  const server = await startOrSkip(t, () => startMongodb());
  if (!server) return;
  t.after(() => server.stop());

  await t.test('documents are inserted, found, changed and deleted', async (t) => {
    const db = await open(t, configAt(server));
    const inserted = await db.insert({
      collection: 'notes',
      documents: [1, 2, 3].map((at) => ({ at, tag: at > 1 ? 'late' : 'early' })),
    });
    assert.equal(inserted.insertedCount, 3);
    assert.match(JSON.stringify(inserted.insertedIds[0]), /^\{"\$oid":"[0-9a-f]{24}"\}$/);
    const found = await db.find({
      collection: 'notes',
      filter: { tag: 'late' },
      projection: { _id: 0, at: 1 },
      sort: { at: -1 },
    });
    assert.deepEqual(found, { documents: [{ at: 3 }, { at: 2 }], truncated: false });
    assert.deepEqual(
      await db.update({
        collection: 'notes',
        filter: { tag: 'late' },
        update: { $set: { seen: true } },
        many: true,
      }),
      { matchedCount: 2, modifiedCount: 2 },
    );
    const upserted = await db.update({
      collection: 'notes',
      filter: { _id: 'mine' },
      update: { $set: { at: 9 } },
      upsert: true,
    });
    assert.equal(upserted.upsertedId, 'mine');
    const { documents } = await db.aggregate({
      collection: 'notes',
      pipeline: [
        { $match: { at: { $lt: 9 } } },
        { $group: { _id: '$tag', sum: { $sum: '$at' } } },
        { $sort: { _id: 1 } },
      ],
    });
    assert.deepEqual(documents, [
      { _id: 'early', sum: 1 },
      { _id: 'late', sum: 5 },
    ]);
    assert.deepEqual(await db.delete({ collection: 'notes', filter: { tag: 'late' } }), { deletedCount: 1 });
    assert.deepEqual(await db.delete({ collection: 'notes', filter: {}, many: true }), { deletedCount: 3 });
  });

  await t.test('Extended JSON goes in and comes out, exactly', async (t) => {
    const db = await open(t, configAt(server));
    const document = {
      _id: { $oid: '65f0c0ffee65f0c0ffee65f0' },
      when: { $date: '2026-01-31T10:00:00.123Z' },
      big: { $numberLong: '9007199254740993' },
      small: 42,
      bytes: { $binary: { base64: 'AAEC/w==', subType: '00' } },
      list: [{ deep: { big: { $numberLong: '-9223372036854775808' } } }],
      text: '猫🐈 $1 \u2028',
    };
    await db.insert({ collection: 'exact', documents: [document] });
    const { documents } = await db.find({ collection: 'exact', filter: { _id: document._id } });
    assert.deepEqual(documents, [document]);
  });

  await t.test('maxRows ends the reading, and says that there was more', async (t) => {
    const db = await open(t, configAt(server));
    await db.insert({ collection: 'many', documents: Array.from({ length: 1500 }, (_, at) => ({ at })) });
    const cut = await db.find({ collection: 'many', sort: { at: 1 }, skip: 5, maxRows: 2 });
    assert.deepEqual([cut.documents.map(({ at }) => at), cut.truncated], [[5, 6], true]);
    const all = await db.find({ collection: 'many', maxRows: 1500 });
    assert.deepEqual([all.documents.length, all.truncated], [1500, false]);
    const byDefault = await db.aggregate({ collection: 'many', pipeline: [] });
    assert.deepEqual([byDefault.documents.length, byDefault.truncated], [1000, true]);
  });

  await t.test('what the server or the driver refuses is told', async (t) => {
    const db = await open(t, configAt(server));
    const twice = [{ _id: 1 }, { _id: 2 }, { _id: 1 }];
    const duplicate = await rejected(db.insert({ collection: 'unique', documents: twice }));
    assert.equal(duplicate.code, 'request_rejected');
    assert.match(duplicate.message, /11000; 2 were inserted/);
    const noOperator = await rejected(db.update({ collection: 'unique', filter: {}, update: { at: 1 } }));
    assert.equal(noOperator.code, 'request_rejected');
    const badStage = await rejected(db.aggregate({ collection: 'unique', pipeline: [{ $nonsense: 1 }] }));
    assert.equal(badStage.code, 'request_rejected');
    for (const collection of ['system.users', 'a\0b'])
      assert.equal((await rejected(db.find({ collection }))).code, 'request_rejected', collection);
  });

  await t.test('SQL is refused by name', async (t) => {
    const db = await open(t, configAt(server));
    for (const attempt of [db.query({ sql: 'select 1' }), db.execute({ sql: 'delete from notes' })]) {
      const { code, message } = await rejected(attempt);
      assert.equal(code, 'request_rejected');
      assert.match(message, /MONGODB has no operation (query|execute), but find and aggregate/);
    }
  });

  await t.test('the driver reaches nothing that the egress policy forbids', async (t) => {
    const network = createNetwork({ policy: createEgressPolicy({ deny: ['127.0.0.1/32'] }) });
    const db = await open(t, configAt(server), network);
    assert.equal((await rejected(db.find({ collection: 'notes' }))).code, 'egress_denied');
  });

  await t.test('every server that a deployment names is dialled by the worker', async (t) => {
    const dialled: string[] = [];
    const ctx = createContext({ signal: new AbortController().signal });
    const network: Network = {
      ...ctx.network,
      connect(target) {
        dialled.push(`${target.host}:${target.port}`);
        // The set's members exist by name only, as behind a split DNS.
        return ctx.network.connect({ ...target, host: server.host, port: server.port });
      },
    };
    const db = await open(
      t,
      { ...configAt({ host: 'a.invalid', port: 1 }), jdbcUrl: 'mongodb://a.invalid:1/orders' },
      network,
    );
    await db.find({ collection: 'notes' });
    assert.ok(dialled.length > 0 && dialled.every((address) => address === 'a.invalid:1'), dialled.join());
  });
});

test('MongoDB over TLS: the server is verified as the connection says', async (t) => {
  const wrong = authority.issue({ commonName: 'mongo.test', names: ['elsewhere.test'] });
  const server = await startOrSkip(t, () => startMongodb({ certificate: wrong }));
  if (!server) return;
  t.after(() => server.stop());
  const outcomes: Record<string, string | undefined> = {};
  const trusts = { ours: trustIn(authority.caPem), system: undefined };
  for (const [name, trust] of Object.entries(trusts)) {
    const ctx = createContext({ signal: AbortSignal.timeout(60_000), ...(trust ? { trust } : {}) });
    const live = await databaseConnector.open(configAt(server, 'tls=true'), ctx);
    const failure = await rejected(databaseConnector.prove(live, { signal: ctx.signal }));
    await databaseConnector.close(live);
    outcomes[name] = failure.code;
    const { stages }: TestResult = await testConnection(databaseConnector, configAt(server, 'tls=true'), ctx);
    assert.equal(stages.find(({ status }) => status === 'failed')?.stage, 'tls');
  }
  assert.deepEqual(outcomes, { ours: 'certificate_wrong_host', system: 'certificate_untrusted' });
  const lenient = await open(t, configAt(server, 'tls=true&tlsAllowInvalidCertificates=true'));
  assert.deepEqual((await lenient.find({ collection: 'notes' })).documents, []);
});
