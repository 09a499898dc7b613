import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { kafka } from './kafka.definition.ts';

const definition = kafka as unknown as ConnectionType;
const ground = { type: 'kafka', name: 'k', topicName: 'events', bootstrapServers: 'a:9092,b:9092' };
const serializer = 'org.apache.kafka.common.serialization.StringSerializer';
const inMap = {
  'bootstrap.servers': { value: 'a:9092' },
  'key.serializer': { value: serializer },
  'value.serializer': { value: serializer },
};

function faultsOf(body: object): string[] {
  const result = parseConnection(definition, { ...ground, ...body });
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('the example of the seed is taken', () => {
  const result = parseConnection(definition, {
    type: 'kafka',
    name: 'my-kafka-connection',
    description: 'Kafka connection for event streaming',
    deployToWorker: true,
    enabled: true,
    topicName: 'events',
    bootstrapServers: 'localhost:9092',
    keyStoreName: 'my-keystore',
    trustStoreName: 'my-truststore',
  });
  assert.ok(result.ok);
  assert.equal(result.config['bootstrapServers'], 'localhost:9092');
  assert.deepEqual(result.config['propertiesMap'], {});
});

test('given as a map, servers and serializers must be in it; beside the shorthand they need not', () => {
  assert.deepEqual(faultsOf({ bootstrapServers: null, propertiesMap: inMap }), []);
  for (const name of Object.keys(inMap)) {
    const { [name as keyof typeof inMap]: _, ...rest } = inMap;
    assert.deepEqual(faultsOf({ bootstrapServers: null, propertiesMap: rest }), [`propertiesMap["${name}"]`]);
  }
  assert.deepEqual(faultsOf({ propertiesMap: { acks: { value: 'all' } } }), []);
});

test('shorthand and map must agree, in whatever order and spelling', () => {
  assert.deepEqual(faultsOf({ propertiesMap: { 'bootstrap.servers': { value: 'B:9092, a:9092' } } }), []);
  assert.deepEqual(faultsOf({ propertiesMap: { 'bootstrap.servers': { value: 'c:9092' } } }), [
    'bootstrapServers',
  ]);
});

test('servers are hosts with ports', () => {
  for (const bootstrapServers of ['a', 'a:0', 'a:65536', 'a:1,', 'PLAINTEXT://a:1', 'a b:1', 'u@a:1'])
    assert.deepEqual(faultsOf({ bootstrapServers }), ['bootstrapServers'], bootstrapServers);
  assert.deepEqual(faultsOf({ bootstrapServers: '[::1]:9092' }), []);
});

test('a value must parse as its type', () => {
  const cases: [string, string[], string[]][] = [
    ['BOOLEAN', ['true', 'false'], ['TRUE', 'yes', '']],
    ['INTEGER', ['0', '-2147483648', '2147483647'], ['2147483648', '1.0', 'x', '']],
    ['LONG', ['9223372036854775807'], ['9223372036854775808', '1e3']],
    ['DOUBLE', ['1', '-1.5e3', '.5'], ['NaN', 'x', '']],
    ['FLOAT', ['1.25'], ['1,25']],
    ['URI', ['https://a/b'], ['no uri']],
    ['STRING_LIST', ['a', 'a, b'], ['a,,b', '']],
    ['STRING', ['anything'], []],
  ];
  for (const [valueType, good, bad] of cases) {
    for (const value of good)
      assert.deepEqual(faultsOf({ propertiesMap: { x: { value, valueType } } }), [], value);
    for (const value of bad)
      assert.deepEqual(
        faultsOf({ propertiesMap: { x: { value, valueType } } }),
        ['propertiesMap["x"].value'],
        `${valueType} ${value}`,
      );
  }
});

test('TLS wants versions and a keystore, unless SASL over TLS is configured', () => {
  assert.deepEqual(faultsOf({ enableSecure: true }).toSorted(), ['keyStoreName', 'protocolTypes']);
  const secure = { enableSecure: true, protocolTypes: ['TLS_1_3'] };
  assert.deepEqual(faultsOf({ ...secure, keyStoreName: 'k' }), []);
  const sasl = { 'security.protocol': { value: 'SASL_SSL' }, 'sasl.mechanism': { value: 'PLAIN' } };
  assert.deepEqual(faultsOf({ ...secure, propertiesMap: sasl }), []);
  assert.deepEqual(
    faultsOf({
      ...secure,
      keyStoreName: 'k',
      propertiesMap: { 'security.protocol': { value: 'PLAINTEXT' } },
    }),
    ['propertiesMap["security.protocol"].value'],
  );
});

test('topic names are legal ones', () => {
  for (const topicName of ['.', '..', 'a b', 'a/b', '', 'x'.repeat(250)])
    assert.deepEqual(faultsOf({ topicName }), ['topicName'], topicName);
});

describe('destination binding', () => {
  const moved = (before: object, after: object) => {
    const [a, b] = [before, after].map((body) => {
      const result = parseConnection(definition, { ...ground, ...body });
      assert.ok(result.ok, JSON.stringify(result));
      return result.config;
    });
    return movedFields(definition, a!, b!);
  };
  const properties = (more: Record<string, string>) => ({
    propertiesMap: {
      'sasl.jaas.config': { value: 'password="x"' },
      ...Object.fromEntries(Object.entries(more).map(([name, value]) => [name, { value }])),
    },
  });

  test('removing a broker is no move, adding one is', () => {
    assert.deepEqual(moved({}, { bootstrapServers: 'B.:9092' }), []);
    assert.deepEqual(moved({}, { bootstrapServers: 'a:9092,b:9092,evil:9092' }), ['bootstrapServers']);
  });

  test('every property counts but harmless ones and the credential itself', () => {
    assert.deepEqual(moved(properties({ acks: '1' }), properties({ acks: 'all', 'linger.ms': '5' })), []);
    assert.deepEqual(
      moved(properties({}), properties({ 'sasl.oauthbearer.token.endpoint.url': 'https://evil' })),
      ['propertiesMap'],
    );
    assert.deepEqual(
      moved(properties({}), { propertiesMap: { 'sasl.jaas.config': { value: 'password="y"' } } }),
      [],
    );
  });

  test('leaving TLS is a move, entering it is not', () => {
    const [clear, secure] = [{ 'security.protocol': 'SASL_PLAINTEXT' }, { 'security.protocol': 'SASL_SSL' }];
    assert.deepEqual(moved(properties(clear), properties(secure)), []);
    assert.deepEqual(moved(properties(secure), properties(clear)), ['propertiesMap']);
    assert.deepEqual(moved(properties(secure), properties({})), ['propertiesMap']);
  });
});
