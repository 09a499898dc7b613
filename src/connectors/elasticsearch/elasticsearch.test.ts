import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { phasesOf } from './administration.ts';
import { versionMismatch } from './elastic-cluster.ts';
import { elasticsearch } from './elasticsearch.definition.ts';

const minimal = { type: 'elasticsearch', name: 'es', elasticHostList: [{ host: 'es1.example.com' }] };

function faultsOf(body: object): Record<string, string> {
  const result = parseConnection(elasticsearch, { ...minimal, ...body });
  return result.ok ? {} : Object.fromEntries(result.faults.map(({ field, message }) => [field, message]));
}

function configOf(body: object): Record<string, unknown> {
  const result = parseConnection(elasticsearch, { ...minimal, ...body });
  assert.ok(result.ok);
  return result.config;
}

test('a host without scheme and port is http on 9200', () => {
  assert.deepEqual(
    { ...(configOf({})['elasticHostList'] as object[])[0] },
    {
      scheme: 'http',
      host: 'es1.example.com',
      port: 9200,
    },
  );
});

test('a host moves when it is added or loses TLS, not when it gains TLS, is spelled otherwise or removed', () => {
  const hosts = (...list: object[]) => configOf({ elasticHostList: list });
  const http = { scheme: 'http', host: 'a' };
  const https = { scheme: 'https', host: 'a' };
  const moved = (before: object[], after: object[]) =>
    movedFields(elasticsearch, hosts(...before), hosts(...after));
  assert.deepEqual(moved([http], [https]), []);
  assert.deepEqual(moved([https], [http]), ['elasticHostList']);
  assert.deepEqual(moved([http], [{ host: 'A.', port: 9200 }]), []);
  assert.deepEqual(moved([http, { host: 'b' }], [http]), []);
  assert.deepEqual(moved([http], [http, { host: 'b' }]), ['elasticHostList']);
  assert.deepEqual(moved([http], [{ host: 'a', port: 9201 }]), ['elasticHostList']);
});

test('READ does not administrate', () => {
  assert.deepEqual(Object.keys(faultsOf({ elasticsearchType: 'READ', administrate: true })), [
    'administrate',
  ]);
  assert.deepEqual(faultsOf({ elasticsearchType: 'READ' }), {});
  assert.deepEqual(faultsOf({ administrate: true }), {});
});

test('each kind of material asks for its files, only while own material is on', () => {
  const ofType = (encryptCommunicationType: string, more: object = {}) =>
    Object.keys(faultsOf({ encryptCommunication: true, encryptCommunicationType, ...more }));
  assert.deepEqual(Object.keys(faultsOf({ encryptCommunication: true })), ['encryptCommunicationType']);
  assert.deepEqual(ofType('CA_CERTIFICATE_IN_PKCS_12'), ['caCertInPkcs12File']);
  assert.deepEqual(ofType('CA_IN_PEM_FILE'), ['caInPemFile']);
  assert.deepEqual(ofType('CA_IN_PEM_FILE', { caInPemFile: 'not base64: for the worker to find out' }), []);
  assert.deepEqual(ofType('CERT_AND_PRIVATE_KEY_IN_PKCS_12'), ['caKeystoreFile', 'caKeystoreFilePass']);
  assert.deepEqual(faultsOf({ encryptCommunicationType: 'CA_IN_PEM_FILE' }), {});
});

test('a lifecycle policy that is made has at least one phase', () => {
  const policy = (indexLifecyclePolicy?: object) =>
    Object.keys(faultsOf({ indexLifecyclePolicyCreated: true, indexLifecyclePolicy }));
  assert.deepEqual(policy(), ['indexLifecyclePolicy']);
  assert.deepEqual(policy({}), ['indexLifecyclePolicy']);
  assert.deepEqual(policy({ enableColdPhase: true }), []);
  assert.deepEqual(policy({ enableColdPhase: '${COLD}' }), []);
  assert.deepEqual(policy({ enableHotPhase: true, minAgeOfDelete: -1 }), [
    'indexLifecyclePolicy.minAgeOfDelete',
  ]);
});

test('settings without effect and weak ones are remarked on', () => {
  const result = parseConnection(elasticsearch, {
    ...minimal,
    elasticHostList: [{ scheme: 'https', host: 'a' }],
    caInPemFile: 'QQ==',
    disableHostnameVerification: true,
    indexTemplateCreated: true,
    indexTemplateName: 't',
    socketKeepAlive: true,
  });
  assert.ok(result.ok);
  const about = result.warnings.map((warning) => warning.split(':')[0]);
  assert.deepEqual(about.sort(), [
    'caInPemFile',
    'disableHostnameVerification',
    'indexTemplateCreated',
    'socketKeepAlive',
  ]);
});

test('every field of a policy stands where Elasticsearch looks for it', () => {
  const config = configOf({
    administrate: true,
    indexName: 'logs',
    indexLifecyclePolicyCreated: true,
    indexLifecyclePolicy: {
      enableHotPhase: true,
      maxAgeOfRollover: 1,
      maxIndexSizeOfRollover: 2,
      maxDocCountOfRollover: 3,
      enableWarmPhase: true,
      numberOfReplicasForWarm: 4,
      maxNumShardsForShrink: 5,
      maxNumSegmentsForForceMerge: 6,
      enableColdPhase: true,
      minAgeOfCold: 7,
      numberOfReplicasForCold: 0,
      enableDeletePhase: true,
      minAgeOfDelete: 9,
    },
  });
  assert.deepEqual(phasesOf(config['indexLifecyclePolicy'] as never), {
    hot: { min_age: '0ms', actions: { rollover: { max_age: '1d', max_size: '2gb', max_docs: 3 } } },
    warm: {
      min_age: '0ms',
      actions: {
        allocate: { number_of_replicas: 4 },
        shrink: { number_of_shards: 5 },
        forcemerge: { max_num_segments: 6 },
      },
    },
    cold: { min_age: '7d', actions: { allocate: { number_of_replicas: 0 } } },
    delete: { min_age: '9d', actions: { delete: {} } },
  });
});

test('a version that was said is compared with what the cluster is', () => {
  const is = (product: 'Elasticsearch' | 'OpenSearch', version: string) => ({
    product,
    version,
    major: Number.parseInt(version, 10),
    name: 'c',
    uuid: 'u',
  });
  for (const [said, cluster, fits] of [
    ['AUTO_DETECT', is('Elasticsearch', '8.1.0'), true],
    ['ES_7', is('Elasticsearch', '7.17.3'), true],
    ['ES_8', is('Elasticsearch', '8.1.0'), true],
    ['ES_9', is('Elasticsearch', '9.0.0'), true],
    ['ES_7', is('Elasticsearch', '8.1.0'), false],
    ['ES_8', is('Elasticsearch', '7.17.3'), false],
    ['ES_9', is('Elasticsearch', '8.1.0'), false],
  ] as const)
    assert.equal(versionMismatch(said, cluster) === undefined, fits, `${said} ${cluster.version}`);
});

test('the index is a legal name, or for searching a pattern', () => {
  for (const indexName of ['apinizer-log', '.ds-logs', 'logs-*,audit', 'other:logs'])
    assert.deepEqual(faultsOf({ indexName }), {}, indexName);
  for (const indexName of ['Logs', '_all', '..', 'a b', 'a/b', '<logs-{now/d}>'])
    assert.deepEqual(Object.keys(faultsOf({ indexName })), ['indexName'], indexName);
});

test('a user name that HTTP Basic would cut is refused', () => {
  assert.deepEqual(Object.keys(faultsOf({ elasticUsername: 'a:b' })), ['elasticUsername']);
  assert.deepEqual(faultsOf({ elasticUsername: 'jörg' }), {});
});
