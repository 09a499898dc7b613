// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references as they are written
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { email } from '../connectors/email/email.definition.ts';
import type { ConnectionType } from './connection-type.ts';
import { formats } from './formats.ts';
import { isHost, isLoopback, normaliseHost } from './host.ts';
import { foldName, nameFault, parseConnection } from './validation.ts';

const definition = email as unknown as ConnectionType;
const ground = { type: 'email', name: 'mail', host: 'smtp.example.com' };

function faultsOf(body: unknown, options?: Parameters<typeof parseConnection>[2]): Record<string, string> {
  const result = parseConnection(definition, body, options);
  return result.ok ? {} : Object.fromEntries(result.faults.map(({ field, message }) => [field, message]));
}

describe('faults', () => {
  test('all of them together, in words that a person can act on', () => {
    const body = {
      type: 'email',
      name: '-x',
      hsot: 'smtp.example.com',
      port: 70000,
      auth: true,
      enableStartTls: 'true',
      additionalProperties: [{ name: 'a', value: 1 }, { name: 'b' }],
      circuitBreaker: { errorThreshold: 0, sleep: 1 },
    };
    assert.deepEqual(faultsOf(body), {
      name: 'must start with a letter or digit and consist of letters, digits, space, `.`, `_` and `-`',
      host: 'is required',
      hsot: 'is not known; did you mean `host`?',
      port: 'must be a whole number from 1 to 65535',
      enableStartTls: 'must be true or false',
      'additionalProperties[0].value': 'must be text',
      'additionalProperties[1].value': 'is required',
      'circuitBreaker.errorThreshold': 'must be a whole number from 1 to 10000',
      'circuitBreaker.sleep': 'is not known; did you mean `sleepWindowSeconds`?',
      username: 'is required when auth is true',
      password: 'is required when auth is true',
    });
  });

  test('a rule of the type itself is said beside what is missing', () => {
    const faults = faultsOf({ ...ground, useSsl: true, enableStartTls: true, auth: true });
    assert.deepEqual(Object.keys(faults).toSorted(), ['enableStartTls', 'password', 'username']);
  });

  test('the wrong type names the right one', () => {
    assert.deepEqual(faultsOf({ ...ground, type: 'smtp' }), { type: 'must be email' });
  });

  test('no number is made of a text, no switch of a number', () => {
    assert.deepEqual(Object.keys(faultsOf({ ...ground, port: '587', auth: 1, enabled: 'true' })).toSorted(), [
      'auth',
      'enabled',
      'port',
    ]);
  });

  test('a name may be left out only where that is allowed', () => {
    const { name: _, ...nameless } = ground;
    assert.deepEqual(faultsOf(nameless), { name: 'is required' });
    assert.deepEqual(faultsOf(nameless, { nameRequired: false }), {});
  });

  test('names that reach prototypes do no harm', () => {
    const body = JSON.parse(
      '{"type":"email","name":"m","host":"h","__proto__":{"auth":true},"constructor":1,"labels":{"__proto__":{"x":1},"constructor":"y"}}',
    );
    assert.deepEqual(Object.keys(faultsOf(body)).toSorted(), [
      '__proto__',
      'constructor',
      'labels.__proto__',
    ]);
    const result = parseConnection(definition, { ...ground, labels: { constructor: 'y', toString: 'z' } });
    assert.ok(result.ok);
    assert.deepEqual(result.config['labels'], { constructor: 'y', toString: 'z' });
    assert.equal(({} as Record<string, unknown>)['auth'], undefined);
  });

  test('control characters are refused, in names of maps too, and line breaks where there is one line', () => {
    assert.deepEqual(
      Object.keys(
        faultsOf({
          ...ground,
          description: 'two\r\nlines\tare fine, \u0007 is not',
          username: 'a\r\nb',
          labels: { 'a\nb': 'x', ok: 'a\tb' },
          environments: ['a\0'],
        }),
      ).toSorted(),
      ['description', 'environments[0]', 'labels.ok', 'labels["a\\nb"]', 'username'].toSorted(),
    );
    assert.deepEqual(faultsOf({ ...ground, description: 'two\r\nlines' }), {});
    assert.deepEqual(Object.keys(faultsOf({ ...ground, description: 'lone \ud800' })), ['description']);
  });

  test('an overlong text is a fault at once, however it looks', () => {
    const long = 1_000_000;
    const faults = faultsOf({
      ...ground,
      from: ' '.repeat(long),
      addressToTest: '${X}'.padEnd(long, 'a.'),
      defaultEncoding: 'a'.repeat(long),
      additionalProperties: [{ name: 'a', value: '@'.repeat(long) }],
    });
    assert.deepEqual(Object.keys(faults).toSorted(), [
      'additionalProperties[0].value',
      'addressToTest',
      'defaultEncoding',
      'from',
    ]);
  });

  test('a body of great depth or many unknown fields is answered all the same', () => {
    let deep: unknown = 'x';
    for (let level = 0; level < 50_000; level++) deep = { a: deep };
    assert.ok(Object.keys(faultsOf({ ...ground, labels: deep })).length > 0);
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`field${index}`, index]));
    assert.equal(Object.keys(faultsOf({ ...ground, ...many })).length, 1000);
  });
});

describe('what is taken', () => {
  test('defaults are filled in, null stands for them, and the body stays as it is', () => {
    const body = Object.freeze({ ...ground, port: null, labels: Object.freeze({ a: null, b: 'x' }) });
    const result = parseConnection(definition, body);
    assert.ok(result.ok);
    assert.equal(result.config['port'], 587);
    assert.deepEqual(result.config['labels'], { b: 'x' });
    assert.deepEqual(Object.keys(result.config).slice(0, 2), ['type', 'name']);
  });

  test('legacy names are ignored with a warning each', () => {
    const result = parseConnection(definition, { ...ground, _class: 'X', id: '1', keyStoreId: null });
    assert.ok(result.ok);
    assert.equal(result.warnings.length, 3);
  });

  test('the stored form takes a variable for a number or switch; the resolved form does not', () => {
    const body = {
      ...ground,
      host: '${HOST}.example.com',
      port: '${PORT}',
      auth: '${AUTH}',
      from: '${FROM}',
    };
    assert.deepEqual(faultsOf(body), {});
    assert.deepEqual(Object.keys(faultsOf(body, { resolved: true })).toSorted(), [
      'auth',
      'from',
      'host',
      'port',
    ]);
    for (const port of ['1${PORT}', '${PORT} ', '$${PORT}', '${1}', '${A}${B}'])
      assert.deepEqual(Object.keys(faultsOf({ ...ground, port })), ['port'], port);
  });

  test('a secret that merely contains a variable stays as it is, with a warning', () => {
    const result = parseConnection(definition, { ...ground, password: 'a${B}c' });
    assert.ok(result.ok);
    assert.equal(result.config['password'], 'a${B}c');
    assert.ok(result.warnings.some((warning) => warning.startsWith('password:') && !warning.includes('B')));
    for (const password of ['secret://env/X', 'secret://file/run/x', 'secret://vault/kv/a/b#c'])
      assert.deepEqual(faultsOf({ ...ground, password }), {});
    for (const password of ['secret://env/', 'secret://env/a-b', 'secret://other/x', 'secret://vault/kv/a'])
      assert.deepEqual(Object.keys(faultsOf({ ...ground, password })), ['password'], password);
  });
});

describe('names', () => {
  test('letters of any script, digits, space, dot, underscore and hyphen', () => {
    for (const name of ['a', '1', 'İstanbul posta', 'почта_1', 'मेल', 'a.b-c_d e', 'é', 'x'.repeat(255)])
      assert.equal(nameFault(name), undefined, name);
    for (const name of ['', '-a', ' a', '.a', 'a/b', 'a\n', 'a\0', 'x'.repeat(256), 'a#', '😀', 7, null])
      assert.notEqual(nameFault(name), undefined, String(name));
  });

  test('are compared without regard to case or composition', () => {
    assert.equal(foldName('É'), foldName('e\u0301'));
    assert.equal(foldName('ΟΔΟΣ'), foldName('οδος'));
    assert.equal(foldName('MAIL'), 'mail');
    assert.notEqual(foldName('ı'), foldName('i'));
    const result = parseConnection(definition, { ...ground, name: 'e\u0301' });
    assert.ok(result.ok && result.config.name === '\u00e9');
  });
});

describe('formats', () => {
  const cases: Record<string, { good: string[]; bad: string[] }> = {
    host: {
      good: [
        'a',
        'a.example.com',
        'a.example.com.',
        '10.0.0.1',
        '::1',
        '[::1]',
        'fe80::1%eth0',
        'bücher.example',
        'xn--a',
        '_x.y',
      ],
      bad: [
        '',
        'a b',
        'a/b',
        'a@b',
        'a:1',
        'a..b',
        '-a',
        '1.2.3',
        '1.2.3.256',
        '0x7f.1',
        '2130706433',
        '::g',
        'a#b',
        'a\\b',
      ],
    },
    'email-address': {
      good: ['a@b', 'a.b+c@example.com', '"a b"@example.com', 'ü@bücher.example', 'a@[10.0.0.1]'],
      bad: ['a', '@b', 'a@', 'a@b c', 'a b@c', 'a@b@c', 'a..b@c', '<a@b>', 'a@b\r\nRCPT TO:<x@y>'],
    },
    mailbox: {
      good: ['a@b', 'A B <a@b>', '"B, A" <a@b>', '<a@b>'],
      bad: ['A B', 'A <a>', 'A <a@b> <c@d>', 'A <a@b', 'a@b, c@d'],
    },
    'http-url': {
      good: ['http://a', 'https://a:8443/b?c=d#e', 'https://u:p@a/', 'http://[::1]/'],
      bad: [
        'ftp://a',
        'http:/a',
        'http:\\\\a',
        'http://',
        'a.example.com',
        'http://a b',
        'javascript:x',
        'http://a\\@b',
        'http://a:0',
      ],
    },
    oid: { good: ['1.3.6', '.1.3.6.1.4.1'], bad: ['1', '3.1', '1.3.', '1..3', 'a.b', '1.03'] },
    base64: { good: ['', 'AAAA', 'AA==', 'AA', 'AAA='], bad: ['A', 'AA=A', 'A*AA', 'AAAAA'] },
  };
  for (const [name, { good, bad }] of Object.entries(cases))
    test(name, () => {
      for (const text of good) assert.ok(formats[name]!.validate(text), `${name}: ${text}`);
      for (const text of bad) assert.ok(!formats[name]!.validate(text), `${name}: not ${text}`);
    });

  test('this machine alone is told in any spelling', () => {
    for (const host of [
      'localhost',
      'LOCALHOST.',
      '127.0.0.1',
      '127.8.9.10',
      '0x7f.1',
      '::1',
      '[::1]',
      '0::1',
    ])
      assert.ok(isLoopback(host), host);
    assert.ok(isLoopback('::ffff:127.0.0.1'));
    for (const host of [
      '0.0.0.0',
      '::',
      '128.0.0.1',
      '127.0.0.1.example.com',
      'localhost.example.com',
      '::2',
    ])
      assert.ok(!isLoopback(host), host);
    assert.ok(!isLoopback('::ffff:10.0.0.1'));
    assert.ok(!isLoopback('::ffff:7f:1'), '0.127.0.1');
  });

  test('hosts are normalised to one spelling', () => {
    for (const host of ['EXAMPLE.com', 'example.com.', 'Example.Com'])
      assert.equal(normaliseHost(host), 'example.com');
    assert.equal(normaliseHost('[2001:DB8:0::1]'), '2001:db8::1');
    assert.equal(normaliseHost('::ffff:10.0.0.1'), normaliseHost('::FFFF:a00:1'));
    assert.ok(isHost(normaliseHost('BÜCHER.example')));
  });
});
