// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references as they are written
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Type } from 'typebox';
import {
  type ConnectionType,
  credentialUrl,
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  list,
  map,
  object,
  optional,
  secret,
  text,
} from './connection-type.ts';
import { movedFields } from './destination-binding.ts';
import {
  createScrubber,
  hasShortSecret,
  joinSecrets,
  keepSecrets,
  maskUrl,
  secretFields,
  secretValues,
  splitSecrets,
} from './masking.ts';
import { parseConnection } from './validation.ts';

const words = { title: 'Title', description: 'Description.' };
const pair = object({ name: text(words), value: text(words) });

const definition = defineConnectionType({
  type: 'sample',
  title: 'Sample',
  summary: 'Holds a secret of every kind.',
  fields: {
    host: hostName(words),
    proxy: optional(text({ ...words, format: 'http-url', destination: 'address' })),
    password: optional(secret(words)),
    url: optional(credentialUrl({ ...words, secretWhen: 'urlSecret' })),
    urlSecret: flag({ ...words, default: false, destination: { weakestFirst: [false, true] } }),
    headers: list(pair, { ...words, default: [], secret: 'header-values' }),
    properties: map(object({ value: text(words), valueType: text({ ...words, default: 'STRING' }) }), {
      ...words,
      default: {},
      secret: 'property-values',
      destination: { harmless: ['linger.ms'] },
    }),
    hosts: list(object({ host: hostName(words), port: text({ ...words, default: '1' }) }), {
      ...words,
      default: [],
      destination: 'address-set',
    }),
  },
  operations: {
    nothing: defineOperation({
      ...words,
      input: Type.Object({}, { additionalProperties: false }),
      output: Type.Object({}),
    }),
  },
}) as unknown as ConnectionType;

const ground = { type: 'sample', name: 'a', host: 'a.example.com' };
const stored = {
  ...ground,
  password: 'pa55word',
  url: 'https://user:pw-in-url@a.example.com/x?token=t0ken&page=1',
  headers: [
    { name: 'Authorization', value: 'Basic dXNlcjpoZWFkZXJwdw==' },
    { name: 'X-Api-Key', value: 'first-key' },
    { name: 'Accept', value: 'text/plain' },
    { name: 'x-api-key', value: 'second-key' },
  ],
  properties: {
    'sasl.jaas.config': { value: 'X required password="jaas-pw";', valueType: 'STRING' },
    custom: { value: 'custom-pw', valueType: 'SECRET' },
    'linger.ms': { value: '5', valueType: 'STRING' },
  },
};

describe('masks of URLs', () => {
  const cases: [string, string][] = [
    ['https://user:pw@h/p?token=a&b=c#f', 'https://***:***@h/p?token=***&b=c#f'],
    ['https://opaque-token@h/', 'https://***@h/'],
    ['https://u:p,q;(r)@h/', 'https://***:***@h/'],
    ['https://u:p%40q@h/?api%5Fkey=x', 'https://***:***@h/?api%5Fkey=***'],
    ['https://u:p@q@h/', 'https://***:***@h/'],
    ['jdbc:postgresql://h/db?user=u&password=p;q', 'jdbc:postgresql://h/db?user=***&password=***'],
    ['jdbc:sqlserver://h;user=sa;password={a;}}b};x=1', 'jdbc:sqlserver://h;user=***;password=***;x=1'],
    ['jdbc:oracle:thin:u/p@h:1521:SID', 'jdbc:oracle:thin:***/***@h:1521:SID'],
    ['jdbc:oracle:thin:u/"p@q"@h:1521/s', 'jdbc:oracle:thin:***/***@h:1521/s'],
    ['jdbc:db2://h:5/db:user=a;password=b;', 'jdbc:db2://h:5/db:user=***;password=***;'],
    ['jdbc:mysql://u:p@h/db?trustStorePassword=x', 'jdbc:mysql://***:***@h/db?trustStorePassword=***'],
    ['mongodb+srv://u:p@h/db?authSource=a', 'mongodb+srv://***:***@h/db?authSource=a'],
    ['failover:(tcp://u:p@a,tcp://v:q@b)?x=y', 'failover:(tcp://***:***@a,tcp://***:***@b)?x=y'],
    ['failover:(tcp://a?jms.password=p,tcp://b)?x=y', 'failover:(tcp://a?jms.password=***,tcp://b)?x=y'],
    ['tcp://a:1?jms.userName=u&jms.password=p', 'tcp://a:1?jms.userName=***&jms.password=***'],
    ['https://h/plain?q=1', 'https://h/plain?q=1'],
  ];
  for (const [url, masked] of cases) test(masked, () => assert.equal(maskUrl(url, false), masked));

  test('a URL that is a credential keeps its origin alone', () => {
    assert.equal(
      maskUrl('https://hooks.slack.com/services/T0/B0/xyz?a=b', true),
      'https://hooks.slack.com/***',
    );
    assert.equal(
      maskUrl('https://u:p@hooks.slack.com/services', true),
      'https://***:***@hooks.slack.com/***',
    );
  });

  test('an arbitrary password in any position is hidden', () => {
    const password = fc
      .string({ unit: 'binary-ascii', minLength: 6, maxLength: 12 })
      .map((text) => `Zz${text}`);
    fc.assert(
      fc.property(password, (value) => {
        const encoded = encodeURIComponent(value);
        for (const url of [
          `https://u:${encoded}@h/`,
          `jdbc:postgresql://h/db?password=${encoded}&x=1`,
          `jdbc:sqlserver://h;password={${value.replaceAll('}', '}}')}};x=1`,
          `mongodb://u:${encoded}@h1,h2/db`,
          `failover:(tcp://u:${encoded}@a,tcp://b)`,
        ])
          assert.ok(!maskUrl(url, false).includes('Zz'), `${url} → ${maskUrl(url, false)}`);
      }),
      { numRuns: 200, seed: 7 },
    );
  });
});

describe('split and join', () => {
  test('every secret is taken out and put back', () => {
    const { masked, secrets } = splitSecrets(definition, stored);
    assert.deepEqual(joinSecrets(masked, secrets), stored);
    assert.deepEqual(Object.keys(secrets), [
      '/password',
      '/url',
      '/headers/0/value',
      '/headers/1/value',
      '/headers/3/value',
      '/properties/sasl.jaas.config/value',
      '/properties/custom/value',
    ]);
    for (const value of secretValues(definition, stored))
      assert.ok(!JSON.stringify(masked).includes(value), 'left in the masked form');
    assert.equal((masked['headers'] as { value: unknown }[])[2]!.value, 'text/plain');
    assert.deepEqual(secretFields(definition, stored), [
      'password',
      'url',
      'headers[0].value',
      'headers[1].value',
      'headers[3].value',
      'properties["sasl.jaas.config"].value',
      'properties.custom.value',
    ]);
  });

  test('a name with slashes and tildes has a place too', () => {
    const config = { ...ground, properties: { 'a/b~c.password': { value: 'x1234', valueType: 'STRING' } } };
    const { masked, secrets } = splitSecrets(definition, config);
    assert.deepEqual(Object.keys(secrets), ['/properties/a~1b~0c.password/value']);
    assert.deepEqual(joinSecrets(masked, secrets), config);
  });

  test('a secret without a place is an error', () => {
    assert.throws(() => joinSecrets(ground, { '/nowhere/at/all': 'x' }));
    assert.throws(() => joinSecrets(ground, { '/__proto__/polluted': 'x' }));
  });
});

describe('kept secrets', () => {
  const update = (body: object) => parseConnection(definition, { ...ground, ...body }, { stored });
  const kept = (body: object) => {
    const result = update(body);
    assert.ok(result.ok, JSON.stringify(result));
    return result;
  };

  test('null and left out keep, an empty string clears, a new value replaces', () => {
    for (const body of [{}, { password: null }]) {
      const { config, kept: fields } = kept(body);
      assert.equal(config['password'], 'pa55word');
      assert.deepEqual(fields, ['password']);
    }
    assert.equal(kept({ password: '' }).config['password'], undefined);
    assert.deepEqual(kept({ password: 'new one' }).kept, []);
    assert.deepEqual(keepSecrets(definition, ground, ground).kept, [], 'nothing is stored');
  });

  test('headers are found by name, without regard to case, and by occurrence', () => {
    const { config, kept: fields } = kept({
      password: 'x',
      headers: [
        { name: 'X-API-KEY', value: null },
        { name: 'Accept', value: 'a' },
        { name: 'x-api-key' },
        { name: 'authorization', value: null },
      ],
    });
    assert.deepEqual(
      (config['headers'] as { value: string }[]).map(({ value }) => value),
      ['first-key', 'a', 'second-key', 'Basic dXNlcjpoZWFkZXJwdw=='],
    );
    assert.deepEqual(fields, ['headers[0].value', 'headers[2].value', 'headers[3].value']);
  });

  test('headers of one name keep each its own value', () => {
    const named = (...values: (string | null)[]) => ({
      ...ground,
      headers: values.map((value) => ({ name: 'Cookie', value })),
    });
    const { config } = keepSecrets(definition, named(null, null, null), named('a=1', 'b=2', 'c=3'));
    assert.deepEqual(config, named('a=1', 'b=2', 'c=3'));
  });

  test('a header that was not stored has nothing to keep', () => {
    const headers = [{ name: 'X-Other-Token', value: null }];
    const result = update({ headers });
    assert.ok(!result.ok);
    assert.deepEqual(result.faults, [{ field: 'headers[0].value', message: 'is required' }]);
    assert.deepEqual(keepSecrets(definition, { ...ground, headers, password: 'x' }, stored).kept, []);
  });

  test('a property is kept by its name, and not into the open', () => {
    const { config } = kept({ properties: { custom: { value: null, valueType: 'SECRET' } } });
    assert.deepEqual(config['properties'], { custom: { value: 'custom-pw', valueType: 'SECRET' } });
    const opened = update({ properties: { custom: { value: null, valueType: 'STRING' } } });
    assert.ok(!opened.ok);
    assert.ok(!JSON.stringify(opened).includes('custom-pw'));
    const listed = (value: string | null, valueType: string) => ({
      ...ground,
      properties: [{ name: 'custom', value, valueType }],
    });
    const inList = keepSecrets(definition, listed(null, 'STRING'), listed('custom-pw', 'SECRET'));
    assert.deepEqual(inList, { config: listed(null, 'STRING'), kept: [] }, 'nor in a list');
    assert.deepEqual(kept({ properties: { custom: null } }).config['properties'], {}, 'null leaves it out');
  });

  test('a URL sent back with its mask keeps the hidden parts, also beside a change', () => {
    const { masked } = splitSecrets(definition, stored);
    assert.equal(kept({ url: masked['url'] }).config['url'], stored.url);
    assert.equal(
      kept({ url: 'https://***:***@a.example.com/x?page=2&token=***' }).config['url'],
      'https://user:pw-in-url@a.example.com/x?page=2&token=t0ken',
    );
  });

  test('a mask with nothing stored behind it is a fault', () => {
    for (const url of ['https://a.example.com/x?secret=***', 'https://a.example.com/***']) {
      const result = update({ url });
      assert.ok(!result.ok);
      assert.deepEqual(
        result.faults.map(({ field }) => field),
        ['url'],
      );
    }
    const created = parseConnection(definition, { ...ground, url: 'https://***:***@h/' });
    assert.ok(!created.ok);
  });

  test('masks are refused as secrets, wherever one is', () => {
    const result = parseConnection(definition, {
      ...ground,
      password: '••••',
      headers: [{ name: 'Cookie', value: '***' }],
      properties: { 'ssl.key.password': { value: '*' } },
    });
    assert.ok(!result.ok);
    assert.deepEqual(result.faults.map(({ field }) => field).toSorted(), [
      'headers[0].value',
      'password',
      'properties["ssl.key.password"].value',
    ]);
  });

  test('the given body and what is stored stay as they are', () => {
    const body = Object.freeze({
      ...ground,
      headers: Object.freeze([Object.freeze({ name: 'X-Api-Key', value: null })]),
    });
    const before = structuredClone(stored);
    keepSecrets(definition, body as never, stored);
    parseConnection(definition, body, { stored });
    assert.deepEqual(stored, before);
  });
});

describe('destination binding', () => {
  const moved = (before: object, after: object) =>
    movedFields(definition, { ...ground, ...before }, { ...ground, ...after });

  test('another spelling of a host is no move, another host is', () => {
    assert.deepEqual(moved({ host: 'A.example.COM.' }, { host: 'a.example.com' }), []);
    assert.deepEqual(moved({ host: '[2001:DB8::0:1]' }, { host: '2001:db8::1' }), []);
    assert.deepEqual(moved({ host: '127.1' }, { host: '127.0.0.1' }), []);
    assert.deepEqual(moved({}, { host: 'evil.example.com' }), ['host']);
  });

  test('origin and path of a URL count, its credentials and default port do not', () => {
    assert.deepEqual(moved({ url: 'https://u:p@H/x' }, { url: 'https://u:q@h:443/x?b=1' }), []);
    for (const url of [
      'http://h/x',
      'https://h:8443/x',
      'https://h/y',
      'https://h@evil/x',
      'https://h.evil/x',
    ])
      assert.deepEqual(moved({ url: 'https://h/x' }, { url }), ['url'], url);
    assert.deepEqual(moved({ url: 'HTTPS://h/x' }, { url: 'https://h/x' }), []);
    assert.deepEqual(moved({ proxy: 'http://u:p@proxy:80' }, { proxy: 'http://PROXY/' }), []);
  });

  test('of a URL that is not of HTTP all counts but its credentials', () => {
    const url = 'tcp://u:p@h:1?password=p&tls=true';
    assert.deepEqual(moved({ url }, { url: 'tcp://u:q@h:1?password=q&tls=true' }), []);
    for (const other of [
      'tcp://u:p@evil:1?password=p&tls=true',
      'tcp://u:p@h:1?password=p&tls=false',
      'ssl://u:p@h:1?password=p&tls=true',
    ])
      assert.deepEqual(moved({ url }, { url: other }), ['url'], other);
  });

  test('a switch moves towards its weak side alone; a variable that is not resolved moves', () => {
    assert.deepEqual(moved({ urlSecret: true }, { urlSecret: false }), ['urlSecret']);
    assert.deepEqual(moved({ urlSecret: false }, { urlSecret: true }), []);
    assert.deepEqual(moved({ urlSecret: true }, { urlSecret: '${X}' }), ['urlSecret']);
    assert.deepEqual(moved({ urlSecret: '${X}' }, { urlSecret: true }), ['urlSecret']);
  });

  test('removing one of several is no move, adding and changing one is', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((host) => ({ host, port: '1' }));
    assert.deepEqual(moved({ hosts: [a, b] }, { hosts: [b] }), []);
    assert.deepEqual(moved({ hosts: [a, b] }, { hosts: [b, { port: '1', host: 'A.' }] }), []);
    assert.deepEqual(moved({ hosts: [a, b] }, { hosts: [a, b, c] }), ['hosts']);
    assert.deepEqual(moved({ hosts: [a, b] }, { hosts: [a, { ...b, port: '2' }] }), ['hosts']);
  });

  test('in a map every name counts but the harmless ones', () => {
    const properties = { 'linger.ms': { value: '1' }, 'bootstrap.servers': { value: 'a:1' } };
    assert.deepEqual(
      moved({ properties }, { properties: { ...properties, 'linger.ms': { value: '2' } } }),
      [],
    );
    for (const change of [
      { 'bootstrap.servers': { value: 'evil:1' } },
      { unheard: { value: 'x' } },
      { constructor: { value: 'x' } },
    ])
      assert.deepEqual(moved({ properties }, { properties: { ...properties, ...change } }), ['properties']);
  });

  test('the order of the names of a map is no move, the query of a URL within it is one', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => [name, { value: `https://h/?${name}=1` }] as const);
    const properties = Object.fromEntries([b!, c!, a!]);
    for (const order of [
      [a!, b!, c!],
      [c!, b!, a!],
    ])
      assert.deepEqual(moved({ properties }, { properties: Object.fromEntries(order) }), []);
    assert.deepEqual(
      moved({ properties }, { properties: { ...properties, a: { value: 'https://h/?a=2' } } }),
      ['properties'],
    );
  });

  test('an address that appears or goes is a move', () => {
    assert.deepEqual(moved({}, { proxy: 'http://proxy.example.com/' }), ['proxy']);
    assert.deepEqual(moved({ proxy: 'http://proxy.example.com/' }, {}), ['proxy']);
  });
});

describe('scrubbing', () => {
  test('finds a secret in every encoding, deep inside, in names too', () => {
    const secretText = 's3cr3t/+"ü &x';
    const scrub = createScrubber([secretText]);
    const bytes = Buffer.from(secretText);
    for (const form of [
      secretText,
      encodeURIComponent(secretText),
      encodeURIComponent(secretText).toLowerCase(),
      encodeURIComponent(secretText).replaceAll('%20', '+'),
      JSON.stringify(secretText),
      bytes.toString('base64'),
      bytes.toString('base64url'),
      bytes.toString('hex'),
      bytes.toString('hex').toUpperCase(),
      ...['', 'u', 'us', 'user:'].flatMap((before) =>
        ['', '!', '!!', ':more'].flatMap((after) => [
          Buffer.from(before + secretText + after).toString('base64'),
          Buffer.from(before + secretText + after).toString('base64url'),
        ]),
      ),
    ]) {
      const found = JSON.stringify(scrub([{ [`in ${form} name`]: [`a ${form} b`] }]));
      assert.ok(found.includes('***'), form);
      const middle = form.slice(4, -6);
      assert.ok(!found.includes(middle), `${form} left in ${found}`);
    }
  });

  test('leaves everything else, and what is no text, alone', () => {
    const scrub = createScrubber(['hunter2hunter2']);
    const value = { a: [1, null, true, 'hunter'], b: { c: 'text' } };
    assert.deepEqual(scrub(value), value);
    assert.equal(createScrubber([])(value), value);
    assert.equal(scrub('a.c'), 'a.c');
  });

  test('the longest of overlapping secrets goes first', () => {
    assert.equal(createScrubber(['pass', 'password-long'])('x password-long y'), 'x *** y');
  });

  test('references are no secrets to search for', () => {
    const scrub = createScrubber(['${DB_PASSWORD}', 'secret://env/DB']);
    assert.equal(scrub('${DB_PASSWORD} secret://env/DB'), '${DB_PASSWORD} secret://env/DB');
  });

  test('a short secret is said to be one, since it cannot be searched for', () => {
    assert.ok(hasShortSecret(['long enough', 'abc']));
    assert.ok(!hasShortSecret(['long enough', 'abcd', '']));
  });

  test('a line of a key is found on its own', () => {
    const line = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC';
    const scrub = createScrubber([`-----BEGIN PRIVATE KEY-----\n${line}\n-----END PRIVATE KEY-----\n`]);
    assert.equal(scrub(`bad line ${line}`), 'bad line ***');
  });

  test('what sits inside a secret counts as one', () => {
    const values = secretValues(definition, stored);
    for (const inner of ['dXNlcjpoZWFkZXJwdw==', 'headerpw', 'jaas-pw', 'pw-in-url', 't0ken'])
      assert.ok(values.includes(inner), inner);
    assert.ok(!values.includes('user'), 'a user name is none');
  });
});

describe('secrets of any size', () => {
  const formsOf = (secret: string) => {
    const bytes = Buffer.from(secret);
    return [secret, encodeURIComponent(secret), bytes.toString('hex'), bytes.toString('base64')];
  };

  for (const length of [990, 8_000, 12_700, 96_000, 1_000_000])
    test(`one of ${length} characters is replaced in every form`, () => {
      const secret = `Canary+${'abc/def='.repeat(length / 8)}`.slice(0, length);
      const scrub = createScrubber([secret]) as (text: string) => string;
      for (const form of formsOf(secret)) {
        const text = scrub(`before ${form} between ${form} after`);
        assert.equal(text, 'before *** between *** after');
      }
      // Beside something else in one base64 text.
      const joined = Buffer.from(`user:${secret}:more`).toString('base64');
      assert.ok(scrub(joined).length < 40, scrub(joined).slice(0, 200));
    });

  test('twenty thousand of them are looked for at once', () => {
    const secrets = Array.from({ length: 20_000 }, (_, number) => `Canary-${number}-secret`);
    const scrub = createScrubber(secrets) as (text: string) => string;
    for (const secret of [secrets[0]!, secrets[9_999]!, secrets[19_999]!])
      for (const form of formsOf(secret)) assert.equal(scrub(`it is ${form}`), 'it is ***');
  });

  test('what sits inside of a long value is found in a time that grows with its length', () => {
    const took = (length: number) => {
      const value = 'password'.repeat(length / 8);
      const began = performance.now();
      for (let round = 0; round < 5; round++)
        secretValues(definition, { type: 'sample', name: 'a', password: value });
      return performance.now() - began;
    };
    took(8_000);
    assert.ok(took(256_000) < 100 * Math.max(took(16_000), 1), 'sixteen times as long');
  });
});
