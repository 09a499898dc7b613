import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { rabbitMq } from './rabbitmq.definition.ts';

const minimal = { type: 'rabbitMq', name: 'rabbit', hostPortList: [{ host: 'a' }] };

function parse(body: object) {
  return parseConnection(rabbitMq, { ...minimal, ...body });
}

test('a frame is unlimited or at least as large as AMQP demands', () => {
  for (const size of [0, 4096]) assert.ok(parse({ connectionFactoryRequestedFrameMax: size }).ok);
  const result = parse({ connectionFactoryRequestedFrameMax: 4095 });
  assert.ok(!result.ok);
  assert.deepEqual(
    result.faults.map(({ field }) => field),
    ['connectionFactoryRequestedFrameMax'],
  );
});

test('an added host moves, a removed or differently spelled one does not; nor do describing properties', () => {
  const config = (body: object) => {
    const result = parse(body);
    assert.ok(result.ok);
    return result.config;
  };
  const one = config({});
  const two = config({ hostPortList: [{ host: 'a' }, { host: 'b', port: 5673 }] });
  assert.deepEqual(movedFields(rabbitMq, one, two), ['hostPortList']);
  assert.deepEqual(movedFields(rabbitMq, two, one), []);
  assert.deepEqual(movedFields(rabbitMq, one, config({ hostPortList: [{ host: 'A.', port: 5672 }] })), []);
  const properties = (connectionFactoryClientProperties: object) =>
    movedFields(rabbitMq, one, config({ connectionFactoryClientProperties }));
  assert.deepEqual(properties({ connection_name: 'x' }), []);
  assert.deepEqual(properties({ something: 'x' }), ['connectionFactoryClientProperties']);
});

test('the TLS port without TLS is remarked on', () => {
  const result = parse({ hostPortList: [{ host: 'a', port: 5671 }] });
  assert.ok(result.ok);
  assert.match(result.warnings.join(), /5671/);
});
