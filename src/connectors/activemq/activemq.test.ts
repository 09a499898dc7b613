import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { activeMq } from './activemq.definition.ts';
import { readSettings } from './activemq-settings.ts';
import { parseBrokerUrl } from './broker-url.ts';

const minimal = {
  type: 'activeMq',
  name: 'broker',
  activeMqConnectionProtocolType: 'TCP',
  brokerURL: 'tcp://a:61616',
  destinationType: 'QUEUE',
  destinationName: 'orders',
};

function read(url: string) {
  const parsed = parseBrokerUrl(url);
  assert.ok(!('fault' in parsed), url);
  return parsed;
}

function placesOf(url: string): string[] {
  return activeMq.destinations?.brokerURL?.(url) ?? [];
}

test('one URL, a list and failover lists are read', () => {
  assert.deepEqual(read('TCP://A.example.com'), {
    brokers: [{ scheme: 'tcp', host: 'a.example.com', port: 61616, options: [] }],
    failover: false,
    options: [],
  });
  const endpoints = (url: string) =>
    read(url).brokers.map(({ scheme, host, port }) => `${scheme} ${host} ${port}`);
  const both = ['ssl a 61617', 'tcp b 7000'];
  assert.deepEqual(endpoints('ssl://a,tcp://b:7000'), both);
  assert.deepEqual(endpoints('failover:(ssl://a, tcp://b:7000)?randomize=false'), both);
  assert.deepEqual(endpoints('failover://(ssl://a,tcp://b:7000)'), both);
  assert.deepEqual(endpoints('failover:ssl://a,tcp://b:7000'), both);
  assert.deepEqual(endpoints('(ssl://a,tcp://b:7000)?ha=true'), both);
  assert.deepEqual(endpoints('amqp://a,amqps://[2001:DB8::1]'), ['amqp a 5672', 'amqps 2001:db8::1 5671']);
});

test('options belong to their broker or to the list', () => {
  const parsed = read(
    'failover:(tcp://a:1?wireFormat.cacheEnabled=false&soTimeout=5,tcp://b:2)?timeout=3%30',
  );
  assert.deepEqual(parsed.brokers[0]?.options, [
    { name: 'wireFormat.cacheEnabled', value: 'false' },
    { name: 'soTimeout', value: '5' },
  ]);
  assert.deepEqual(parsed.brokers[1]?.options, []);
  assert.deepEqual(parsed.options, [{ name: 'timeout', value: '30' }]);
  assert.equal(parsed.failover, true);
});

test('user-info is read percent-decoded', () => {
  const [broker] = read('amqp://us%40er:p%3Aw@a').brokers;
  assert.equal(broker?.username, 'us@er');
  assert.equal(broker?.password, 'p:w');
  assert.equal(broker?.host, 'a');
});

test('what cannot be read is said without quoting the URL', () => {
  for (const wrong of [
    '',
    'a:61616',
    'http://a',
    'tcp://',
    'tcp://a:0',
    'tcp://a:65536',
    'tcp://a:61616,',
    'failover:(tcp://a:1',
    'failover:(tcp://a:1)x',
    'failover:()',
    'tcp://a:1#b',
    'tcp://u:canary@a b',
    'discovery:(multicast://default)',
    'vm://localhost',
  ]) {
    const parsed = parseBrokerUrl(wrong);
    assert.ok('fault' in parsed, wrong);
    assert.doesNotMatch(parsed.fault, /canary/);
  }
});

test('an option of the broker URL that has no effect where it stands is named', () => {
  const named = (activeMqConnectionProtocolType: 'TCP' | 'AMQP', brokerURL: string) => {
    const parsed = parseConnection(activeMq, {
      type: 'activeMq',
      name: 'n',
      destinationType: 'QUEUE',
      destinationName: 'orders',
      activeMqConnectionProtocolType,
      brokerURL,
    });
    assert.ok(parsed.ok, JSON.stringify(parsed));
    const ctx = createContext({ signal: new AbortController().signal });
    readSettings(parsed.config as never, ctx);
    return ctx.warnings.map((text) => /the option (\S+) has no effect/.exec(text)?.[1]);
  };
  assert.deepEqual(named('TCP', 'tcp://a:1?wireFormat.maxFrameSize=9000&amqp.vhost=x'), ['amqp.vhost']);
  assert.deepEqual(named('AMQP', 'amqp://a:1?wireFormat.maxFrameSize=9000&amqp.vhost=x'), [
    'wireFormat.maxFrameSize',
  ]);
  assert.deepEqual(named('TCP', 'tcp://a:1?randomize=false'), ['randomize'], 'of a failover list alone');
  assert.deepEqual(named('TCP', 'failover:(tcp://a:1,tcp://b:2)?randomize=false'), []);
  const ofClient = 'jms.sendTimeout=5&jms.clientID=c&connectionTimeout=5';
  assert.deepEqual(named('TCP', `failover:(tcp://a:1?${ofClient},tcp://b:2?jms.userName=u)`), []);
  assert.deepEqual(
    named('TCP', `failover:(tcp://a:1,tcp://b:2?${ofClient})`),
    ['jms.sendTimeout', 'jms.clientID', 'connectionTimeout'],
    'the client is one, and takes them from the first',
  );
});

test('acknowledging lazily is remarked on where the protocol has no such thing', () => {
  const remarks = (protocol: 'TCP' | 'AMQP') => {
    const parsed = parseConnection(activeMq, {
      type: 'activeMq',
      name: 'n',
      destinationType: 'QUEUE',
      destinationName: 'orders',
      activeMqConnectionProtocolType: protocol,
      brokerURL: `${protocol.toLowerCase()}://a:1`,
      sessionAcknowledgement: 'DUPS_OK_ACKNOWLEDGE',
    });
    assert.ok(parsed.ok);
    return parsed.warnings.filter((text) => text.startsWith('sessionAcknowledgement:')).length;
  };
  assert.deepEqual([remarks('TCP'), remarks('AMQP')], [0, 1]);
});

test('the scheme agrees with the protocol type', () => {
  const faulty = (activeMqConnectionProtocolType: string, brokerURL: string) => {
    const result = parseConnection(activeMq, { ...minimal, activeMqConnectionProtocolType, brokerURL });
    return result.ok ? [] : result.faults.map(({ field }) => field);
  };
  assert.deepEqual(faulty('TCP', 'tcp://a,ssl://b'), []);
  assert.deepEqual(faulty('AMQP', 'failover:(amqp://a,amqps://b)'), []);
  assert.deepEqual(faulty('TCP', 'amqp://a'), ['brokerURL']);
  assert.deepEqual(faulty('AMQP', 'amqp://a,tcp://b'), ['brokerURL']);
  assert.deepEqual(faulty('AMQP', '${BROKER_URL}'), []);
  assert.deepEqual(faulty('TCP', 'nonsense'), ['brokerURL']);
});

test('another broker, the loss of TLS and an unknown option move; order, spelling and timing do not', () => {
  const moved = (before: string, after: string) =>
    movedFields(activeMq, { brokerURL: before }, { brokerURL: after }).length > 0;
  assert.equal(moved('tcp://a', 'failover:(tcp://A.:61616)?maxReconnectAttempts=3'), false);
  assert.equal(moved('tcp://a,tcp://b', 'tcp://b'), false);
  assert.equal(moved('tcp://a,tcp://b', 'tcp://b,tcp://a'), false);
  assert.equal(moved('tcp://a:61617', 'ssl://a'), false);
  assert.equal(moved('ssl://a', 'tcp://a:61617'), true);
  assert.equal(moved('tcp://b', 'tcp://a,tcp://b'), true);
  assert.equal(moved('ssl://a', 'ssl://a?socket.verifyHostName=false'), true);
  assert.equal(moved('ssl://a?socket.verifyHostName=false', 'ssl://a'), false);
  assert.equal(moved('amqps://a', 'failover:(amqps://a)?nested.transport.trustAll=true'), true);
});

test('no credential shows in a place, and a changed one is no move', () => {
  for (const url of [
    'tcp://user:canary@a',
    'failover:(tcp://a?jms.userName=user&jms.password=canary,tcp://b)?jms.password=canary',
    'nonsense://user:canary@a',
  ])
    assert.doesNotMatch(JSON.stringify(placesOf(url)), /canary/, url);
  assert.deepEqual(placesOf('tcp://user:one@a'), placesOf('tcp://user:two@a'));
});
