import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
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
