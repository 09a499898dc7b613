import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { placeFaults } from '../../console/src/connection-form/field-faults.ts';
import {
  conditionallyRequired,
  type FieldSchema,
  formSchema,
  isDefault,
  matters,
  newBody,
  sectionOf,
  sections,
} from '../../console/src/connection-form/form-schema.ts';
import { differences, merged } from '../../console/src/connection-form/merge.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { allFields } from '../../src/contract/definition-schema.ts';
import { publishedSchema } from '../../src/contract/json-schema.ts';

const all = Object.values(definitions) as unknown as ConnectionType[];
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function everySchema(schema: FieldSchema): FieldSchema[] {
  return [
    schema,
    ...Object.values(schema.properties ?? {}).flatMap(everySchema),
    ...(schema.items ? everySchema(schema.items) : []),
    ...(schema['x-values'] ? everySchema(schema['x-values']) : []),
  ];
}

for (const definition of all)
  describe(`the form of ${definition.type}`, () => {
    const published = plain(publishedSchema(definition));
    const schema = formSchema(published);
    const names = Object.keys(schema.properties!);

    it('has every field of the definition once, in a section that there is', () => {
      assert.deepEqual([...names].sort(), ['name', ...Object.keys(allFields(definition))].sort());
      const shown = sections.flatMap(({ name }) =>
        names.filter((field) => sectionOf(field, schema.properties![field]!) === name),
      );
      assert.deepEqual([...shown].sort(), [...names].sort());
    });

    it('has one type for each value, and nothing that fills in or branches', () => {
      for (const one of everySchema(schema)) {
        assert.equal(typeof one.type, 'string');
        for (const word of ['default', 'allOf', 'if', 'anyOf', 'oneOf', 'additionalProperties'])
          assert.ok(!(word in one), `${word} in ${JSON.stringify(one)}`);
        assert.ok(!one.enum?.includes(null));
      }
    });

    it('keeps the kind of each field', () => {
      for (const [name, field] of Object.entries(allFields(definition))) {
        const shown = schema.properties![name]!;
        assert.equal(shown.type, field.type, name);
        assert.equal(shown['x-secret'], field['x-secret'], name);
        assert.deepEqual(shown['x-default'], plain(field)['default'], name);
      }
    });

    it('shows a field by conditions on fields that there are', () => {
      for (const name of names)
        for (const other of Object.keys(schema.properties![name]!['x-visible-when'] ?? {}))
          assert.ok(names.includes(other), `${name} hangs on ${other}`);
    });
  });

describe('fields that appear when they matter', () => {
  const email = formSchema(plain(publishedSchema(definitions.email as unknown as ConnectionType)));

  it('go by the value, its default, and a variable that may be it', () => {
    assert.equal(matters(email, 'username', {}), false);
    assert.equal(matters(email, 'username', { auth: true }), true);
    assert.equal(matters(email, 'username', { auth: '${AUTH}' }), true);
    assert.equal(matters(email, 'host', {}), true);
    const syslog = formSchema(plain(publishedSchema(definitions.syslog as unknown as ConnectionType)));
    assert.equal(matters(syslog, 'syslogTimeout', {}), true);
    assert.equal(matters(syslog, 'syslogTimeout', { syslogProtocolType: 'UDP' }), false);
  });

  it('are asked for by the rules', () => {
    const required = conditionallyRequired(
      plain(publishedSchema(definitions.email as unknown as ConnectionType)),
    );
    assert.ok(!required({ auth: false }).has('username'));
    assert.ok(required({ auth: true, username: null }).has('username'));
  });

  it('know their defaults', () => {
    assert.ok(isDefault(email.properties!['port'], 587));
    assert.ok(isDefault(email.properties!['port'], null));
    assert.ok(!isDefault(email.properties!['port'], 25));
    assert.ok(isDefault(email.properties!['labels'], {}));
    assert.ok(!isDefault(email.properties!['username'], 'a'));
  });

  it('begin with the item that a list must have', () => {
    const rabbit = formSchema(plain(publishedSchema(definitions.rabbitMq as unknown as ConnectionType)));
    assert.deepEqual(newBody('rabbitMq', rabbit), { type: 'rabbitMq', name: '', hostPortList: [{}] });
  });
});

describe('faults', () => {
  const elastic = formSchema(plain(publishedSchema(definitions.elasticsearch as unknown as ConnectionType)));
  const body = { elasticHostList: [{ host: 'a' }], labels: { team: 'x' } };

  it('stand at their field, or at the nearest one with the rest of the path, or elsewhere', () => {
    const { byPath, elsewhere } = placeFaults(elastic, body, [
      { field: 'elasticHostList[0].port', message: 'must be 1 to 65535' },
      { field: 'elasticHostList[0].nonsense', message: 'is unknown' },
      { field: 'elasticHostList[4].port', message: 'is odd' },
      { field: 'circuitBreaker.enabled', message: 'must be a switch' },
      { field: 'labels.team', message: 'is too long' },
      { field: 'labels["a.b"]', message: 'is too long' },
      { field: 'nonsense', message: 'is unknown' },
      { field: '', message: 'must be an object' },
    ]);
    assert.deepEqual(Object.fromEntries(byPath), {
      'elasticHostList[0].port': 'must be 1 to 65535',
      'elasticHostList[0]': '.nonsense is unknown',
      elasticHostList: '[4].port is odd',
      'circuitBreaker.enabled': 'must be a switch',
      labels: '.team is too long; ["a.b"] is too long',
    });
    assert.deepEqual(
      elsewhere.map(({ field }) => field),
      ['nonsense', ''],
    );
  });
});

describe('two versions', () => {
  it('differ field by field, and join by choice', () => {
    const base = { name: 'a', host: 'one', port: 1, labels: {}, password: null };
    const mine = { ...base, host: 'mine', port: 2, password: 'new' };
    const theirs = { ...base, host: 'theirs', labels: { team: 'x' } };
    assert.deepEqual(
      differences(base, mine, theirs).map(({ name, changedBy }) => [name, changedBy]),
      [
        ['host', 'both'],
        ['port', 'me'],
        ['labels', 'them'],
        ['password', 'me'],
      ],
    );
    assert.deepEqual(merged(theirs, mine, new Set(['port', 'password'])), {
      ...theirs,
      port: 2,
      password: 'new',
    });
    assert.deepEqual(differences(base, base, { ...base, extra: null }), []);
  });
});
