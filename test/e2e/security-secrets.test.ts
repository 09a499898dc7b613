import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { definitions } from '../../src/connectors/definitions.ts';
import { bodyWith, sampleValue } from '../../src/connectors/sample-body.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { allFields } from '../../src/contract/definition-schema.ts';
import { secretFields } from '../../src/contract/masking.ts';
import { completeConfig, parseConnection } from '../../src/contract/validation.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

type Body = Record<string, unknown>;

const all = Object.values(definitions) as unknown as ConnectionType[];
const base = '/apiops/projects/MyProject/connections';
let plugboard: Plugboard;

before(async () => {
  plugboard = await startPlugboard({ withWorker: false });
});
after(() => plugboard.stop());

const call: Plugboard['call'] = (...given) => plugboard.call(...given);

/** The complete form of a sample, with every environment of the project. */
function complete(definition: ConnectionType, wanted: Body, name: string): Body {
  const { environments: _, selectedEnvironmentId: __, ...rest } = bodyWith(definition, wanted);
  const parsed = parseConnection(definition, { ...rest, name });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return completeConfig(definition, parsed.config) as Body;
}

/** Fields by which the secrets of a type could be led elsewhere. */
function destinationsOf(definition: ConnectionType): string[] {
  return Object.entries(allFields(definition))
    .filter(([, field]) => field['x-destination'] !== undefined)
    .map(([name]) => name);
}

/**
 * Whether a change leads elsewhere, by what the definition says alone: an order of protection moves
 * downwards only, everything else by any change.
 */
function leadsElsewhere(definition: ConnectionType, field: string, from: Body, to: Body): boolean {
  const [before, after] = [from[field] ?? null, to[field] ?? null];
  if (JSON.stringify(before) === JSON.stringify(after) || after === null) return false;
  const destination = allFields(definition)[field]!['x-destination'] as { weakestFirst?: unknown[] };
  const order = destination.weakestFirst;
  return order === undefined || order.indexOf(after) < order.indexOf(before);
}

for (const definition of all) {
  const secrets = Object.entries(allFields(definition)).filter(([, field]) => field['x-secret'] === 'value');
  if (secrets.length === 0) continue;
  const secret = secrets[0]![0];

  test(`security 1: redirected secret, ${definition.type}: each destination field that changes asks for the secret again`, async () => {
    const tried = new Set<string>();
    for (const field of destinationsOf(definition)) {
      for (const other of [false, true]) {
        const name = `${definition.type} ${field} ${other}`;
        const path = `${base}/${encodeURIComponent(name)}/`;
        let from: Body;
        let to: Body;
        try {
          // From one sample value to the other, and back.
          const set = (second: boolean) => ({
            [secret]: sampleValue(definition, secret),
            [field]: sampleValue(definition, field, second),
          });
          from = complete(definition, set(other), name);
          to = complete(definition, set(!other), name);
        } catch {
          // These two do not go together in this type.
          continue;
        }
        if (from[secret] === null || to[secret] === null || !leadsElsewhere(definition, field, from, to))
          continue;
        const created = await call('POST', `${path}?async=true`, from);
        assert.equal(created.status, 200, created.text);
        // As who cannot read the secret sees it, led elsewhere.
        const masked = (await call('GET', `${base}/?type=${definition.type}&q=${encodeURIComponent(name)}`))
          .body.resultList[0] as Body;
        const redirected = { ...to, [secret]: masked[secret] };
        assert.equal(redirected[secret], null);
        for (const [method, where] of [
          ['PUT', path],
          ['POST', `${path}validate/`],
          ['POST', '/apiops/projects/MyProject/connection-test/'],
        ] as const) {
          const refused = await call(method, where, redirected);
          assert.equal(refused.status, 400, `${method} ${where} ${field}: ${refused.text}`);
          const fault = (refused.body.validation_errors as { field: string; message: string }[]).find(
            (one) => one.field === secret,
          );
          assert.ok(fault, `${field}: names ${secret}: ${refused.text}`);
          assert.ok(fault.message.includes(field), `${fault.message} names ${field}`);
        }
        assert.deepEqual((await call('GET', path)).body.resultList[0], { ...from });
        const given = await call('PUT', `${path}?async=true`, to);
        assert.equal(given.status, 200, `given again, ${field} may change: ${given.text}`);
        tried.add(field);
      }
    }
    // A JDBC URL's sample brings a password of its own: it is moved by the test of URLs below.
    if (definition.type === 'database') tried.add('jdbcUrl');
    const untried = destinationsOf(definition).filter((field) => !tried.has(field));
    assert.deepEqual(untried, [], 'each destination field was changed');
  });
}

test('security 1: secrets in headers, URLs and Kafka properties are bound as well', async () => {
  const cases = [
    {
      stored: {
        type: 'webhook',
        fullUrl: 'http://user:url-secret@a.example/x',
        headerList: [{ name: 'X-Api-Key', value: 'header-secret' }],
      },
      redirected: {
        fullUrl: 'http://user:***@b.example/x',
        headerList: [{ name: 'X-Api-Key', value: null }],
      },
      faults: ['fullUrl', 'headerList[0].value'],
    },
    {
      stored: {
        type: 'kafka',
        topicName: 'logs',
        bootstrapServers: 'a.example:9092',
        propertiesMap: { 'ssl.key.password': { value: 'property-secret', valueType: 'STRING' } },
      },
      redirected: {
        bootstrapServers: 'b.example:9092',
        propertiesMap: { 'ssl.key.password': { value: null, valueType: 'STRING' } },
      },
      faults: ['propertiesMap'],
    },
    {
      stored: {
        type: 'database',
        jdbcUrl: 'jdbc:postgresql://a.example/x?password=url-secret',
        useCredentials: false,
      },
      redirected: { jdbcUrl: 'jdbc:postgresql://b.example/x?password=***' },
      faults: ['jdbcUrl'],
    },
  ];
  for (const { stored, redirected, faults } of cases) {
    const name = `bound ${stored.type}`;
    const path = `${base}/${encodeURIComponent(name)}/`;
    const created = await call('POST', `${path}?async=true`, { ...stored, name });
    assert.equal(created.status, 200, created.text);
    const refused = await call('PUT', path, { ...stored, ...redirected, name });
    assert.equal(refused.status, 400, refused.text);
    const fields = (refused.body.validation_errors as { field: string }[]).map(({ field }) => field);
    for (const field of faults)
      assert.ok(
        fields.some((one) => one.startsWith(field)),
        `${field}: ${refused.text}`,
      );
  }
});

test('security 1: who only lowers the protection of the transport is refused, who raises it is not', async () => {
  const path = `${base}/lowered/`;
  const body = {
    type: 'email',
    host: '127.0.0.1',
    enableStartTls: true,
    auth: true,
    username: 'u',
    password: 'kept-one',
  };
  assert.equal((await call('POST', `${path}?async=true`, { ...body, name: 'lowered' })).status, 200);
  const { password: _, ...without } = body;
  const lowered = await call('PUT', path, { ...without, enableStartTls: false });
  assert.equal(lowered.status, 400);
  assert.deepEqual(
    lowered.body.validation_errors.map(({ field }: { field: string }) => field),
    ['password'],
  );
  assert.match(lowered.body.error_description, /enableStartTls/);
  assert.equal((await call('PUT', `${path}?async=true`, without)).status, 200);
});

test('security 1: a restored revision brings its own secrets, never the current ones', async () => {
  const path = `${base}/restored/`;
  const body = {
    type: 'email',
    name: 'restored',
    host: 'old.example',
    auth: true,
    username: 'u',
    password: 'first-secret',
  };
  assert.equal((await call('POST', `${path}?async=true`, body)).status, 200);
  const second = { ...body, host: 'new.example', password: 'second-secret' };
  assert.equal((await call('PUT', `${path}?async=true`, second)).status, 200);
  assert.equal((await call('POST', `${path}revisions/1/restore/?async=true`)).status, 200);
  const [now] = (await call('GET', path)).body.resultList;
  assert.deepEqual([now.host, now.password], ['old.example', 'first-secret']);
  assert.equal((await call('DELETE', path)).status, 200);
  assert.equal((await call('POST', `${path}revisions/2/restore/?async=true`)).status, 200);
  const [again] = (await call('GET', path)).body.resultList;
  assert.deepEqual([again.host, again.password], ['new.example', 'second-secret']);
});

test('security 1: a wider reach in environments needs REVEAL or the secret', async () => {
  assert.equal(
    (await call('POST', '/apiops/environments/', { name: 'sandbox', type: 'SANDBOX' })).status,
    200,
  );
  const project = { name: 'Two', environments: ['production', 'sandbox'] };
  assert.equal((await call('POST', '/apiops/projects/', project)).status, 200);
  const path = '/apiops/projects/Two/connections/reach/';
  const body = {
    type: 'email',
    name: 'reach',
    host: 'mail.example',
    auth: true,
    username: 'u',
    password: 'kept-here',
    environments: ['production'],
  };
  assert.equal((await call('POST', `${path}?async=true`, body)).status, 200);
  const { token } = (
    await call('POST', '/apiops/tokens/', {
      name: 'cannot read',
      grants: [{ project: 'Two', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE'] }],
    })
  ).body;
  const { password: _, ...kept } = body;
  const spread = await call('PUT', path, { ...kept, environments: [] }, { token });
  assert.equal(spread.status, 400, spread.text);
  assert.match(spread.body.error_description, /environments/);
  assert.equal(
    (await call('PUT', `${path}?async=true`, { ...body, environments: [] }, { token })).status,
    200,
  );
});

describe('security 2: mask stored as secret', () => {
  for (const definition of all) {
    const own = Object.entries(allFields(definition)).filter(([, field]) => field['x-secret'] === 'value');
    if (own.length === 0) continue;
    test(`is refused for every secret of ${definition.type}`, async () => {
      for (const [field] of own)
        for (const mask of ['*', '***', '••••••••', '********']) {
          const name = `mask ${definition.type}`;
          const body = {
            ...bodyWith(definition, { [field]: sampleValue(definition, field) }),
            name,
            [field]: mask,
          };
          const answer = await call('POST', `${base}/${encodeURIComponent(name)}/`, body);
          assert.equal(answer.status, 400, `${field} = ${mask}: ${answer.text}`);
          assert.ok(
            answer.body.validation_errors.some((one: { field: string }) => one.field === field),
            answer.text,
          );
        }
    });
  }

  test('and of header values and of URLs that have no stored part', async () => {
    for (const fields of [
      { fullUrl: 'http://u:***@127.0.0.1/' },
      { fullUrl: 'http://127.0.0.1/', headerList: [{ name: 'Authorization', value: '***' }] },
    ]) {
      const answer = await call('POST', `${base}/masked/`, { type: 'webhook', name: 'masked', ...fields });
      assert.equal(answer.status, 400, JSON.stringify(fields));
    }
  });
});

test('security 5: VIEW without REVEAL sees null everywhere, and every reveal is an audit event', async () => {
  const { token } = (
    await call('POST', '/apiops/tokens/', {
      name: 'views',
      grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }],
    })
  ).body;
  const count = async () =>
    (await call('GET', '/apiops/audit/?action=connection.reveal&size=1')).body.resultCount as number;
  for (const definition of all) {
    const name = `seen ${definition.type}`;
    const path = `${base}/${encodeURIComponent(name)}/`;
    const wanted = Object.fromEntries(
      Object.entries(allFields(definition))
        .filter(([, field]) => field['x-secret'] !== undefined)
        .slice(0, 1)
        .map(([field]) => [field, sampleValue(definition, field)]),
    );
    const body = complete(definition, wanted, name);
    assert.equal((await call('POST', `${path}?async=true`, body)).status, 200);
    const hidden = secretFields(definition, body);
    const before = await count();
    const seen = (await call('GET', path, undefined, { token })).body.resultList[0] as Body;
    const listed = (await call('GET', `${base}/?type=${definition.type}`, undefined, { token })).body
      .resultList as Body[];
    assert.deepEqual(secretFields(definition, seen), [], 'nothing to hide is left');
    assert.deepEqual(
      listed.find((one) => one['name'] === name),
      seen,
    );
    assert.equal(await count(), before, 'a masked read is no reveal');
    const revealed = await call('GET', path);
    assert.deepEqual(revealed.body.resultList[0], body);
    assert.equal(await count(), before + (hidden.length > 0 ? 1 : 0), definition.type);
  }
});
