import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { openKeystoreTools } from '../../../test/services/keystore-tools.ts';
import {
  type FrontOptions,
  type SearchNode,
  searchProducts,
  startFront,
  startSearchNode,
} from '../../../test/services/search-node.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import type { AppError } from '../../errors.ts';
import type { ElasticConfig } from './elastic-tls.ts';
import { elasticsearchConnector } from './elasticsearch.connector.ts';

const host = '127.0.0.1';
const account = { user: 'plugboard', password: 'Canary-El4stic/p+ss=ü' };
const authority = createAuthority();
const certificate = authority.issue({ commonName: 'search.test', names: ['localhost'], ips: [host] });
const caInPemFile = Buffer.from(authority.caPem).toString('base64');

const logIn = { authenticate: true, elasticUsername: account.user, elasticPassword: account.password };
const withCa = {
  encryptCommunication: true,
  encryptCommunicationType: 'CA_IN_PEM_FILE' as const,
  caInPemFile,
};

function at(port: number, scheme: 'http' | 'https' = 'http') {
  return { elasticHostList: [{ scheme, host, port }] };
}

function config(overrides: Partial<ElasticConfig>): ElasticConfig {
  return {
    type: 'elasticsearch',
    name: 'search',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    elasticHostList: [],
    elasticsearchType: 'READ_WRITE',
    elasticsearchMajorVersion: 'AUTO_DETECT',
    administrate: false,
    authenticate: false,
    encryptCommunication: false,
    caCertInPkcs12FileContentType: 'application/x-pkcs12',
    caInPemFileContentType: 'application/x-pem-file',
    caKeystoreFileContentType: 'application/x-pkcs12',
    caTruststoreFileContentType: 'application/x-pkcs12',
    disableHostnameVerification: false,
    verifyCertificate: true,
    connectionTimeoutInMs: 20_000,
    bulkBufferCapacity: 50_000,
    bulkFlushIntervalMs: 20,
    bulkMaxBatchSize: 2500,
    indexTemplateCreated: false,
    indexLifecyclePolicyCreated: false,
    ...overrides,
  };
}

const { index, bulk, search } = elasticsearchConnector.operations;

/** Opens a connection for one test; it is closed behind it. */
async function open(t: TestContext, overrides: Partial<ElasticConfig>) {
  const ctx = createContext({ signal: new AbortController().signal });
  const live = await elasticsearchConnector.open(config(overrides), ctx);
  t.after(() => elasticsearchConnector.close(live));
  const call = { signal: AbortSignal.timeout(90_000) };
  return {
    ctx,
    live,
    prove: () => elasticsearchConnector.prove(live, call),
    index: (input: Parameters<typeof index>[1]) => index(live, input, call),
    bulk: (input: Parameters<typeof bulk>[1]) => bulk(live, input, call),
    search: (input: Parameters<typeof search>[1] = {}) => search(live, input, call),
    figures: () => elasticsearchConnector.figures!(live),
  };
}

async function failed(work: Promise<unknown>): Promise<AppError> {
  return work.then(
    () => assert.fail('it was expected to fail'),
    (error: unknown) => elasticsearchConnector.classify(error),
  );
}

async function stagesOf(overrides: Partial<ElasticConfig>): Promise<Record<StageName, StageResult>> {
  const ctx = createContext({ signal: new AbortController().signal });
  const { stages } = await testConnection(elasticsearchConnector, config(overrides), ctx);
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<StageName, StageResult>;
}

/** An index of one test's own. */
function freshIndex(): string {
  return `t-${randomBytes(5).toString('hex')}`;
}

async function front(t: TestContext, node: SearchNode, options: FrontOptions) {
  const started = await startFront(node, options);
  t.after(() => started[Symbol.asyncDispose]());
  return started;
}

const page = '<html><body>Bad Request</body></html>';
const otherProtocols = {
  // HTTP is the protocol here: what another server says is a page that ends.
  'an HTTP 400 page': Buffer.from(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: ${page.length}\r\n\r\n${page}`,
  ),
  'the greeting of a mail server': Buffer.from('220 mail.example.com ESMTP\r\n'),
};

const policy: NonNullable<ElasticConfig['indexLifecyclePolicy']> = {
  policyName: 'plugboard-test-policy',
  enableHotPhase: true,
  maxAgeOfRollover: 1,
  maxIndexSizeOfRollover: 25,
  enableWarmPhase: false,
  enableColdPhase: false,
  enableDeletePhase: true,
  minAgeOfDelete: 30,
};

for (const product of searchProducts)
  test(product, { timeout: 600_000 }, async (t) => {
    const node = await startOrSkip(t, () => startSearchNode(product));
    if (!node) return;
    t.after(() => node.stop());

    await t.test('contract', async (s) => {
      // Some are spoken to through TLS and a log-in, the others in clear.
      const secured = product === 'opensearch';
      const entrance = secured ? await front(s, node, { certificate, account }) : node;
      const scheme = secured ? 'https' : 'http';
      const settings = secured ? { ...withCa, ...logIn } : {};
      const wrongPassword = 'Canary-wr0ng/p+ss=ü';
      const indexName = freshIndex();
      await connectorContract(s, `elasticsearch ${scheme}`, {
        connector: elasticsearchConnector,
        config: () => config({ ...settings, ...at(entrance.port, scheme), indexName }),
        configAt: (target) =>
          config({
            ...settings,
            elasticHostList: [{ scheme, host: target.host, port: target.port }],
            connectionTimeoutInMs: target.timeoutMs,
            indexName,
          }),
        badCredentials: secured
          ? () =>
              config({ ...settings, ...at(entrance.port, scheme), indexName, elasticPassword: wrongPassword })
          : undefined,
        operate: async (live, call) => [
          await bulk(live, { actions: [{ id: '1', document: { text: 'bulk' } }] }, call),
          await index(live, { id: '2', document: { text: 'index' } }, call),
        ],
        restart: () => node.restart(),
        silentAt: secured ? 'tls' : 'operate',
        garbledAt: secured ? 'tls' : 'operate',
        otherProtocols,
        secrets: [account.password, wrongPassword],
        tls: secured,
      });
    });

    await t.test('documents are indexed, found, replaced and refused', async (s) => {
      const indexName = freshIndex();
      const { index, search } = await open(s, { ...at(node.port), indexName });
      const first = await index({ id: 'a/b', document: { text: 'hello world', n: 1 }, refresh: 'true' });
      assert.deepEqual(
        [first.index, first.id, first.result, first.version],
        [indexName, 'a/b', 'created', 1],
      );
      const second = await index({ id: 'a/b', document: { text: 'hello again', n: 2 }, refresh: 'true' });
      assert.deepEqual([second.result, second.version], ['updated', 2]);
      assert.equal(
        (await failed(index({ id: 'a/b', document: {}, opType: 'create' }))).code,
        'request_rejected',
      );
      const made = await index({
        document: { text: 'by itself', n: 3 },
        opType: 'create',
        refresh: 'wait_for',
      });
      assert.ok(made.id.length > 10);

      const found = await search({ query: { match: { text: 'again' } } });
      assert.deepEqual([found.total, found.hits[0]?.id, found.timedOut], [1, 'a/b', false]);
      assert.deepEqual(found.hits[0]?.source, { text: 'hello again', n: 2 });
      const pageOne = await search({
        sort: [{ n: 'desc' }],
        size: 1,
        sourceIncludes: ['n'],
        trackTotalHits: true,
        aggregations: { sum: { sum: { field: 'n' } } },
        timeoutMs: 5000,
      });
      assert.deepEqual(pageOne.hits[0]?.source, { n: 3 });
      assert.deepEqual([pageOne.total, pageOne.aggregations], [2, { sum: { value: 5 } }]);
      const pageTwo = await search({ sort: [{ n: 'desc' }], size: 1, searchAfter: pageOne.hits[0]!.sort! });
      assert.equal(pageTwo.hits[0]?.id, 'a/b');

      assert.match((await failed(search({ index: 'there-is-none' }))).details.hint ?? '', /no such index/i);
      assert.equal((await failed(search({ query: { nonsense: {} } }))).code, 'request_rejected');
      const unsorted = await failed(search({ sort: [{ text: 'asc' }] }));
      assert.equal(unsorted.code, 'request_rejected');
      assert.match(unsorted.message, /illegal_argument_exception: .*\[?text\]?/i);
    });

    await t.test('routing and pipeline reach the cluster, of a document and of a bulk', async (s) => {
      const indexName = freshIndex();
      const { index, bulk, search } = await open(s, { ...at(node.port), indexName });
      await index({ id: '1', document: { n: 1 }, routing: 'left', refresh: 'true' });
      await bulk({ actions: [{ id: '2', document: { n: 2 }, routing: 'right' }] });
      await index({ id: '3', document: { n: 3 }, refresh: 'true' });
      const { hits } = await search({ query: { exists: { field: '_routing' } }, sort: [{ n: 'asc' }] });
      assert.deepEqual(
        hits.map(({ id }) => id),
        ['1', '2'],
      );
      const found = async (value: string) =>
        (await search({ query: { term: { _routing: value } } })).hits.map(({ id }) => id);
      assert.deepEqual([await found('left'), await found('right')], [['1'], ['2']]);
      const refused = await failed(index({ document: { n: 4 }, pipeline: 'there-is-none' }));
      // The embedded node runs no pipelines, and says so only when it is asked for one.
      assert.match(JSON.stringify([refused.message, refused.details]), /there-is-none|no ingest nodes/);
    });

    await t.test('names lead to no other resource', async (s) => {
      const { index, search } = await open(s, at(node.port));
      for (const name of ['_bulk', '..', '.', 'a,b', 'logs-*'])
        assert.equal((await failed(index({ index: name, document: {} }))).code, 'bad_request', name);
      for (const name of ['_cluster', '..'])
        assert.equal((await failed(search({ index: name }))).code, 'bad_request', name);
      assert.equal((await failed(index({ index: 'x', id: '..', document: {} }))).code, 'bad_request');
      assert.equal(
        (await failed(index({ index: '../_cluster/settings', document: {} }))).code,
        'request_rejected',
      );
      assert.equal((await failed(search())).code, 'bad_request');
    });

    await t.test('a bulk says what became of each write, in order', async (s) => {
      const indexName = freshIndex();
      const { bulk, search } = await open(s, { ...at(node.port), indexName, bulkMaxBatchSize: 2 });
      await node.ask('PUT', `/${indexName}`, { mappings: { properties: { n: { type: 'integer' } } } });
      const answer = await bulk({
        actions: [
          { id: '1', document: { n: 1 } },
          { id: '2', document: { n: 'no number' } },
          { action: 'create', id: '1', document: { n: 5 } },
          { action: 'update', id: '1', document: { m: 7 } },
          { action: 'delete', id: 'none' },
          { action: 'update', id: 'none', document: { n: 1 } },
          { document: { n: 3 } },
        ],
      });
      assert.deepEqual(
        answer.results.map(({ status, result, error }) => [status, result ?? error?.code]),
        [
          [201, 'created'],
          [400, 'request_rejected'],
          [409, 'request_rejected'],
          [200, 'updated'],
          [404, 'not_found'],
          [404, 'request_rejected'],
          [201, 'created'],
        ],
      );
      assert.deepEqual([answer.accepted, answer.failed], [7, 3]);
      assert.match(answer.results[1]?.error?.message ?? '', /mapper_parsing_exception/);
      await node.ask('POST', `/${indexName}/_refresh`);
      const { hits } = await search({ query: { ids: { values: ['1'] } } });
      assert.deepEqual(hits[0]?.source, { n: 1, m: 7 });
      const wrong = await failed(bulk({ actions: [{ action: 'delete' }, { id: '1' }] }));
      assert.deepEqual(
        wrong.details.validationErrors?.map(({ field }) => field),
        ['actions[0].id', 'actions[1].document'],
      );
    });

    await t.test('without waiting a bulk is buffered, and closing sends what is left', async (s) => {
      const indexName = freshIndex();
      const { bulk, live, figures } = await open(s, {
        ...at(node.port),
        indexName,
        bulkFlushIntervalMs: 3_600_000,
      });
      const actions = Array.from({ length: 10 }, (_, n) => ({ id: String(n), document: { n } }));
      assert.deepEqual(await bulk({ actions, wait: false }), { accepted: 10, failed: 0, results: [] });
      assert.equal(figures()['buffered'], 10);
      await elasticsearchConnector.close(live);
      assert.equal(figures()['buffered'], 0);
      await node.ask('POST', `/${indexName}/_refresh`);
      assert.equal((await node.ask('GET', `/${indexName}/_count`))['count'], 10);
    });

    await t.test('a full buffer refuses the whole call', async (s) => {
      const indexName = freshIndex();
      const { bulk, figures } = await open(s, {
        ...at(node.port),
        indexName,
        bulkBufferCapacity: 10,
        bulkFlushIntervalMs: 3_600_000,
      });
      const actions = (count: number) => Array.from({ length: count }, () => ({ document: { a: 1 } }));
      await bulk({ actions: actions(6), wait: false });
      const full = await failed(bulk({ actions: actions(5) }));
      assert.deepEqual([full.code, full.retryable], ['buffer_full', true]);
      assert.equal(figures()['buffered'], 6);
      await bulk({ actions: actions(4), wait: false });
      assert.equal(figures()['buffered'], 10);
    });

    await t.test('READ refuses writes and searches', async (s) => {
      const indexName = freshIndex();
      await node.ask('PUT', `/${indexName}/_doc/1?refresh=true`, { a: 1 });
      const entrance = await front(s, node, {});
      const { index, bulk, search } = await open(s, {
        ...at(entrance.port),
        indexName,
        elasticsearchType: 'READ',
      });
      assert.equal((await failed(index({ document: {} }))).code, 'bad_request');
      assert.equal((await failed(bulk({ actions: [{ document: {} }] }))).code, 'bad_request');
      assert.deepEqual(entrance.seen, []);
      assert.equal((await search()).total, 1);
    });

    await t.test('a dead first host is skipped, and taken again when it is back', async (s) => {
      const indexName = freshIndex();
      const dead = await freePort();
      const overrides = { elasticHostList: [...at(dead).elasticHostList, ...at(node.port).elasticHostList] };
      const { index, figures } = await open(s, { ...overrides, indexName });
      for (let n = 0; n < 6; n++) await index({ id: String(n), document: { n } });
      // On a slow machine its rest may just be over; then it is tried once more.
      while (figures()['deadHosts'] !== 1) await index({ document: {} });

      const { connect, operate } = await stagesOf({ ...overrides, indexName });
      assert.equal(operate.status, 'passed', JSON.stringify(operate));
      assert.match(connect.detail ?? '', new RegExp(`${dead}: FAILED`));
      assert.match(connect.hint ?? '', /failover/);

      const back = await startFront(node, {});
      s.after(() => back[Symbol.asyncDispose]());
      const revived = await open(s, {
        elasticHostList: [...at(back.port).elasticHostList, ...at(node.port).elasticHostList],
        indexName,
      });
      for (let n = 0; n < 4; n++) await revived.index({ id: String(n), document: { n } });
      assert.ok(back.seen.length > 0 && back.seen.length < 5, 'requests go round');
    });

    await t.test('a host that accepts and never answers is waited for once at a time', async (s) => {
      const silent = createServer();
      const sockets = new Set<Socket>();
      let accepted = 0;
      silent.on('connection', (socket) => {
        accepted++;
        sockets.add(socket.on('error', () => {}));
      });
      silent.listen(0, host);
      await once(silent, 'listening');
      s.after(() => {
        for (const socket of sockets) socket.destroy();
        silent.close();
      });
      const { port } = silent.address() as AddressInfo;
      const { index, figures } = await open(s, {
        elasticHostList: [...at(port).elasticHostList, ...at(node.port).elasticHostList],
        indexName: freshIndex(),
        connectionTimeoutInMs: 300,
      });
      while (figures()['deadHosts'] !== 1) await index({ document: {} });
      // Its rest is over: it has to show that it is back before it is given a request.
      await sleep(1100);
      const before = accepted;
      while (accepted === before) await index({ document: {} });
      const { operate } = await stagesOf({
        elasticHostList: [...at(port).elasticHostList, ...at(node.port).elasticHostList],
        connectionTimeoutInMs: 300,
      });
      assert.equal(operate.status, 'passed', JSON.stringify(operate));
      assert.match(operate.hint ?? '', /Not every host works/);
    });

    await t.test('a restart loses no acknowledged document', async (s) => {
      const indexName = freshIndex();
      const { index, bulk } = await open(s, { ...at(node.port), indexName, connectionTimeoutInMs: 2000 });
      const acknowledged = new Set<string>();
      let isDone = false;
      const write = async (worker: number) => {
        for (let n = 0; !isDone; n++) {
          const id = `${worker}-${n}`;
          try {
            if (worker === 0) await index({ id, document: { n } });
            else {
              const { results } = await bulk({ actions: [{ id, document: { n } }] });
              if (results[0]?.error) throw new Error(results[0].error.message);
            }
            acknowledged.add(id);
          } catch {
            await sleep(50);
          }
        }
      };
      const writers = [write(0), write(1)];
      while (acknowledged.size < 50) await sleep(20);
      await node.kill();
      await sleep(200);
      await node.restart();
      const before = acknowledged.size;
      while (acknowledged.size < before + 20) await sleep(20);
      isDone = true;
      await Promise.all(writers);
      await node.ask('POST', `/${indexName}/_refresh`);
      for (const id of acknowledged) {
        const { found } = await node.ask('GET', `/${indexName}/_doc/${id}`);
        assert.equal(found, true, id);
      }
    });

    await t.test(
      'administration makes template and first index once, and says that ILM is not there',
      async (s) => {
        const indexName = freshIndex();
        const settings: Partial<ElasticConfig> = {
          ...at(node.port),
          indexName,
          administrate: true,
          indexTemplateCreated: true,
          indexTemplateName: `${indexName}-template`,
          indexTemplateNumberOfShards: 2,
          indexTemplateNumberOfReplicas: 0,
          indexTemplateRefreshInterval: '2s',
          indexLifecyclePolicyCreated: true,
          indexLifecyclePolicy: policy,
        };
        const [one, two] = [await open(s, settings), await open(s, settings)];
        await Promise.all([one.prove(), two.prove()]);
        await one.prove();
        assert.match(one.ctx.warnings.join(), /has no lifecycle policies \(ILM\)/);
        assert.equal(one.ctx.warnings.length, 1);

        const aliases = (await node.ask('GET', `/_alias/${indexName}`)) as Record<
          string,
          { aliases: object }
        >;
        assert.deepEqual(aliases, {
          [`${indexName}-000001`]: { aliases: { [indexName]: { is_write_index: true } } },
        });
        const made = (await node.ask('GET', `/${indexName}-000001/_settings?flat_settings=true`)) as Record<
          string,
          { settings: Record<string, string> }
        >;
        const { settings: effective } = made[`${indexName}-000001`]!;
        assert.deepEqual(
          [
            effective['index.number_of_shards'],
            effective['index.number_of_replicas'],
            effective['index.refresh_interval'],
          ],
          ['2', '0', '2s'],
        );
        const written = await one.index({ document: { a: 1 } });
        assert.equal(written.index, `${indexName}-000001`);
      },
    );

    await t.test('the policy is made where there is ILM, once, and template refers to it', async (s) => {
      const indexName = freshIndex();
      const kept = new Map<string, string>();
      const asked: string[] = [];
      // What the embedded node lacks: policies, and the settings that name them.
      const entrance = await front(s, node, {
        answer(method, path, body) {
          if (/_index_template|-000001/.test(path) && method === 'PUT') asked.push(body);
          if (path.startsWith('/_index_template/')) {
            if (method === 'PUT') kept.set(path, body);
            return kept.has(path)
              ? { status: 200, body: { acknowledged: true } }
              : { status: 404, body: { error: { type: 'resource_not_found_exception' }, status: 404 } };
          }
          if (!path.startsWith('/_ilm/policy/')) return undefined;
          if (method === 'PUT') {
            asked.push(body);
            kept.set(path, body);
            return { status: 200, body: { acknowledged: true } };
          }
          return kept.has(path)
            ? { status: 200, body: {} }
            : { status: 404, body: { error: { type: 'resource_not_found_exception' }, status: 404 } };
        },
      });
      const settings: Partial<ElasticConfig> = {
        ...at(entrance.port),
        indexName,
        administrate: true,
        indexTemplateCreated: true,
        indexTemplateName: `${indexName}-template`,
        indexLifecyclePolicyCreated: true,
        indexLifecyclePolicy: policy,
      };
      for (let round = 0; round < 2; round++) {
        const { prove, ctx } = await open(s, settings);
        await prove();
        assert.deepEqual(ctx.warnings, []);
      }
      assert.equal(asked.length, 3, 'each was made once');
      assert.deepEqual(JSON.parse(asked[0]!), {
        policy: {
          phases: {
            hot: { min_age: '0ms', actions: { rollover: { max_age: '1d', max_size: '25gb' } } },
            delete: { min_age: '30d', actions: { delete: {} } },
          },
        },
      });
      assert.deepEqual(JSON.parse(asked[1]!), {
        index_patterns: [`${indexName}-*`],
        priority: 200,
        template: {
          settings: {
            'index.lifecycle.name': policy.policyName,
            'index.lifecycle.rollover_alias': indexName,
          },
        },
      });
    });

    await t.test('the test names cluster and version, and what does not fit', async (s) => {
      const indexName = freshIndex();
      const { operate, authenticate, tls } = await stagesOf({
        ...at(node.port),
        indexName,
        elasticsearchMajorVersion: 'ES_9',
      });
      assert.equal(operate.status, 'passed', JSON.stringify(operate));
      assert.match(operate.detail ?? '', /cluster plugboard-test, (OpenSearch [12]|Elasticsearch 7)/);
      assert.match(operate.detail ?? '', /health (green|yellow), 1 node/);
      assert.match(operate.hint ?? '', /is ES_9, but the cluster is/);
      assert.match(operate.hint ?? '', new RegExp(`no index, alias or data stream ${indexName}`));
      assert.deepEqual([authenticate.status, tls.status], ['skipped', 'skipped']);
      const other = await open(s, { ...at(node.port), elasticsearchMajorVersion: 'ES_9' });
      await other.prove();
      assert.match(other.ctx.warnings.join(), /is ES_9, but the cluster is/);
    });

    await t.test(
      'the test tells what the account may not do, and what administration would find',
      async (s) => {
        const indexName = freshIndex();
        let asked: unknown;
        let templateStatus = 403;
        const entrance = await front(s, node, {
          answer(_method, path, body) {
            if (path === '/_security/user/_has_privileges') {
              asked = JSON.parse(body);
              const index = { [indexName]: { read: true, write: false } };
              return { status: 200, body: { has_all_requested: false, index } };
            }
            if (!path.startsWith('/_index_template/')) return undefined;
            const error = { type: 'security_exception', reason: 'not for you' };
            return { status: templateStatus, body: { error, status: templateStatus } };
          },
        });
        const administered: Partial<ElasticConfig> = {
          ...logIn,
          indexName,
          administrate: true,
          indexTemplateCreated: true,
          indexTemplateName: 'logs-template',
          indexLifecyclePolicyCreated: true,
          indexLifecyclePolicy: policy,
        };
        const { operate } = await stagesOf({ ...at(entrance.port), ...administered });
        assert.equal(operate.status, 'passed', JSON.stringify(operate));
        assert.deepEqual(asked, { index: [{ names: [indexName], privileges: ['read', 'write'] }] });
        assert.match(operate.hint ?? '', new RegExp(`Grant the account write on the index ${indexName}\\.`));
        assert.match(operate.hint ?? '', /manage_index_templates/);
        assert.match(operate.hint ?? '', /(OpenSearch|Elasticsearch) \d.* has no lifecycle policies/);
        templateStatus = 404;
        const later = await stagesOf({ ...at(entrance.port), ...administered });
        assert.match(later.operate.detail ?? '', /template logs-template is to be made/);
        assert.doesNotMatch(later.operate.hint ?? '', /manage_index_templates/);
        const silent = await stagesOf({ ...at(node.port), ...logIn, indexName });
        assert.equal(silent.operate.status, 'passed', 'a cluster that cannot say is asked for nothing');
        assert.doesNotMatch(silent.operate.hint ?? '', /Grant/);
      },
    );

    await t.test('a log-in that is missing or wrong', async (s) => {
      const entrance = await front(s, node, { account });
      const missing = (await stagesOf(at(entrance.port))).authenticate;
      assert.deepEqual([missing.status, missing.code], ['failed', 'authentication_failed']);
      const wrong = (await stagesOf({ ...at(entrance.port), ...logIn, elasticPassword: 'wrong' }))
        .authenticate;
      assert.deepEqual([wrong.status, wrong.code], ['failed', 'authentication_failed']);
      assert.match(wrong.hint ?? '', /elasticPassword/);
      const right = await stagesOf({ ...at(entrance.port), ...logIn });
      assert.equal(right.operate.status, 'passed', JSON.stringify(right));
    });

    await t.test('certificates: unknown CA, other name, expired', async (s) => {
      const entrance = await front(s, node, { certificate });
      const unknown = (await stagesOf(at(entrance.port, 'https'))).tls;
      assert.deepEqual([unknown.status, unknown.code], ['failed', 'certificate_untrusted']);
      const known = await stagesOf({ ...at(entrance.port, 'https'), ...withCa });
      assert.equal(known.operate.status, 'passed', JSON.stringify(known));
      assert.match(known.tls.detail ?? '', /TLSv1\.[23].*search\.test/);
      const unverified = await stagesOf({ ...at(entrance.port, 'https'), verifyCertificate: false });
      assert.equal(unverified.operate.status, 'passed');
      assert.match(unverified.tls.hint ?? '', /not verified/);

      const foreign = await front(s, node, {
        certificate: authority.issue({ commonName: 'other.test', names: ['other.test'] }),
      });
      const named = (await stagesOf({ ...at(foreign.port, 'https'), ...withCa })).tls;
      assert.equal(named.code, 'certificate_wrong_host');
      const ignored = { ...at(foreign.port, 'https'), ...withCa, disableHostnameVerification: true };
      assert.equal((await stagesOf(ignored)).operate.status, 'passed');
      assert.equal(
        (await stagesOf({ ...ignored, caInPemFile: Buffer.from(createAuthority().caPem).toString('base64') }))
          .tls.code,
        'certificate_untrusted',
      );

      const old = await front(s, node, {
        certificate: authority.issue({ commonName: 'old.test', ips: [host], expired: true }),
      });
      assert.equal((await stagesOf({ ...at(old.port, 'https'), ...withCa })).tls.code, 'certificate_expired');
    });

    await t.test('certificates and keys of PKCS #12 files', async (s) => {
      const tools = await startOrSkip(s, openKeystoreTools);
      if (!tools) return;
      s.after(() => tools[Symbol.asyncDispose]());
      const client = authority.issue({ commonName: 'plugboard', client: true });
      await tools.write('ca.pem', authority.caPem);
      await tools.write('client.pem', client.certPem);
      await tools.write('client.key', client.keyPem);
      const [storePass, keyPass] = ['Truststore-p4ss', 'Keystore-p4ss'];
      await tools.keytool(
        '-importcert',
        '-noprompt',
        '-alias',
        'ca',
        '-file',
        'ca.pem',
        '-keystore',
        'trust.p12',
        '-storetype',
        'PKCS12',
        '-storepass',
        storePass,
      );
      await tools.openssl(
        'pkcs12',
        '-export',
        '-in',
        'client.pem',
        '-inkey',
        'client.key',
        '-out',
        'client.p12',
        '-passout',
        `pass:${keyPass}`,
      );
      const trustFile = (await tools.read('trust.p12')).toString('base64');
      const keyFile = (await tools.read('client.p12')).toString('base64');
      const entrance = await front(s, node, { certificate, clientCaPem: authority.caPem });
      const pkcs12 = {
        ...at(entrance.port, 'https'),
        encryptCommunication: true,
        encryptCommunicationType: 'CERT_AND_PRIVATE_KEY_IN_PKCS_12' as const,
        caKeystoreFile: keyFile,
        caKeystoreFilePass: keyPass,
        caTruststoreFile: trustFile,
        caTruststoreFilePass: storePass,
      };
      const both = await stagesOf(pkcs12);
      assert.equal(both.operate.status, 'passed', JSON.stringify(both));
      const without = await open(s, { ...at(entrance.port, 'https'), ...withCa });
      const refused = await failed(without.prove());
      assert.ok(['tls_failed', 'connection_lost'].includes(refused.code), refused.code);

      const open12 = await front(s, node, { certificate });
      const caOnly = await stagesOf({
        ...at(open12.port, 'https'),
        encryptCommunication: true,
        encryptCommunicationType: 'CA_CERTIFICATE_IN_PKCS_12',
        caCertInPkcs12File: trustFile,
        caTruststoreFilePass: storePass,
      });
      assert.equal(caOnly.operate.status, 'passed', JSON.stringify(caOnly));

      for (const [field, overrides] of [
        ['caKeystoreFile', { caKeystoreFilePass: 'wrong' }],
        ['caTruststoreFile', { caTruststoreFile: 'AAAA' }],
        ['caKeystoreFile', { caKeystoreFile: trustFile, caKeystoreFilePass: storePass }],
      ] as const) {
        const error = await failed(open(s, { ...pkcs12, ...overrides }));
        assert.equal(error.code, 'invalid_configuration', error.message);
        assert.ok(error.message.startsWith(`${field}:`), error.message);
        assert.ok(!error.message.includes(storePass));
      }
    });
  });
