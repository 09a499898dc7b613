import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { AppError, type ErrorCode } from '../../errors.ts';
import { dialHost } from '../http/http-dialler.ts';
import { webhookConnector } from './webhook.connector.ts';
import { webhook } from './webhook.definition.ts';
import { readableBody, secretValues } from './webhook-answer.ts';
import {
  type CallInput,
  composeMessage,
  firstHop,
  mergeQuery,
  nextHop,
  readTarget,
  type WebhookConfig,
  wireHeaders,
} from './webhook-request.ts';
import { signatureHeaders, signingKey } from './webhook-signature.ts';

function configure(fields: Partial<WebhookConfig> = {}): WebhookConfig {
  return {
    type: 'webhook',
    name: 'orders',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    httpMethod: 'POST',
    fullUrl: 'https://hooks.example.com/orders',
    fullUrlSecret: false,
    headerList: [],
    timeout: 2,
    connectionPoolMaxConnectionPerHost: 24,
    connectionPoolMaxConnectionTotal: 48,
    retries: 0,
    followRedirects: 0,
    verifyCertificate: true,
    ...fields,
  };
}

function compose(fields: Partial<WebhookConfig>, input: CallInput = {}) {
  return composeMessage(
    readTarget(configure(fields), () => {}),
    input,
  );
}

function lines(headers: [string, string][], name: string): string[] {
  return headers.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value);
}

function refusal(code: ErrorCode, field: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof AppError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, field);
    if (code === 'bad_request') assert.match(error.details.validationErrors?.[0]?.field ?? '', field);
    return true;
  };
}

describe('signature', () => {
  test('is that of the test vector which Standard Webhooks publishes', () => {
    const key = signingKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
    const body = Buffer.from('{"test": 2432232314}');
    assert.deepEqual(signatureHeaders(key, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, body), [
      ['webhook-id', 'msg_p5jXN8AQM9LWM0D4loKWxJek'],
      ['webhook-timestamp', '1614265330'],
      ['webhook-signature', 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='],
    ]);
  });

  test('takes a secret without prefix as text', () => {
    const [, , [, signature] = []] = signatureHeaders(signingKey('péage'), 'a', 1, Buffer.from('b'));
    assert.equal(signature, `v1,${createHmac('sha256', 'péage').update('a.1.b').digest('base64')}`);
  });

  for (const secret of ['whsec_', 'whsec_not base64!', 'whsec_MfKQ9r8GKYqrTwjU*D8ILPZIo2LaLaSw'])
    test(`refuses ${secret}`, () => {
      assert.throws(() => signingKey(secret), refusal('invalid_configuration', /^signingSecret/));
    });

  test('covers the empty body, and keeps the id over attempts while the date moves', () => {
    const message = compose({ httpMethod: 'GET', signingSecret: 'sesame-open' });
    const [first, second] = [1, 2].map((now) => wireHeaders(message, firstHop(message), now));
    assert.deepEqual(lines(first!, 'webhook-id'), lines(second!, 'webhook-id'));
    assert.notDeepEqual(lines(first!, 'webhook-signature'), lines(second!, 'webhook-signature'));
    const [id] = lines(first!, 'webhook-id');
    const expected = createHmac('sha256', 'sesame-open').update(`${id}.1.`).digest('base64');
    assert.deepEqual(lines(first!, 'webhook-signature'), [`v1,${expected}`]);
  });

  test('takes the id of the caller, who repeats a message', () => {
    const message = compose({ signingSecret: 's' }, { headers: { 'Webhook-Id': 'msg_1' } });
    assert.deepEqual(lines(wireHeaders(message, firstHop(message), 1), 'webhook-id'), ['msg_1']);
  });
});

describe('headers', () => {
  test('go out as configured, in order, twice where they are twice', () => {
    const { headers } = compose({
      headerList: [
        { name: 'X-B', value: '2' },
        { name: 'X-A', value: '1' },
        { name: 'X-B', value: '3' },
      ],
    });
    assert.deepEqual(headers.slice(0, 3), [
      ['X-B', '2'],
      ['X-A', '1'],
      ['X-B', '3'],
    ]);
  });

  test('of a call replace configured ones that carry no credential', () => {
    const headerList = [{ name: 'X-Trace', value: 'configured' }];
    const { headers } = compose({ headerList }, { headers: { 'x-trace': 'called' } });
    assert.deepEqual(lines(headers, 'x-trace'), ['called']);
  });

  for (const name of [
    'Host',
    'authorization',
    'Content-Length',
    'TRANSFER-ENCODING',
    'Connection',
    'Proxy-Authorization',
    'proxy-connection',
    'Cookie',
    'Upgrade',
    'TE',
    'Trailer',
    'Expect',
    'Keep-Alive',
  ])
    test(`of a call may not be ${name}`, () => {
      assert.throws(
        () => compose({}, { headers: { [name]: 'x' } }),
        refusal('bad_request', new RegExp(`^headers\\.${name}`)),
      );
    });

  for (const name of ['X-Api-Key', 'x-access-token', 'X-Secret', 'X-PASSWORD'])
    test(`of a call may not replace the configured credential ${name}`, () => {
      const headerList = [{ name: name.toLowerCase(), value: 'configured' }];
      assert.throws(
        () => compose({ headerList }, { headers: { [name]: 'called' } }),
        refusal('bad_request', /^headers\./),
      );
    });

  for (const name of ['webhook-timestamp', 'Webhook-Signature'])
    test(`of a call may not forge ${name}`, () => {
      assert.throws(
        () => compose({ signingSecret: 's' }, { headers: { [name]: 'v1,forged' } }),
        refusal('bad_request', /^headers\./),
      );
    });

  for (const value of ['a\r\nX-Evil: 1', 'a\nb', 'a\0b', 'snowman ☃'])
    test(`cannot be broken out of by ${JSON.stringify(value)}`, () => {
      assert.throws(
        () => compose({}, { headers: { 'X-A': value } }),
        refusal('bad_request', /^headers\.X-A/),
      );
      assert.throws(
        () => compose({ headerList: [{ name: 'X-A', value }] }),
        refusal('invalid_configuration', /^headerList\[0\]\.value/),
      );
    });

  for (const name of ['X A', 'X-A:', 'X-A\r\nX-B', '', 'é'])
    test(`have no name ${JSON.stringify(name)}`, () => {
      assert.throws(() => compose({}, { headers: { [name]: 'x' } }), refusal('bad_request', /^headers/));
    });

  test('of framing are dropped from the configuration with a warning', () => {
    const warnings: string[] = [];
    const headerList = ['Content-Length', 'Connection', 'Transfer-Encoding', 'Proxy-Connection'].map(
      (name) => ({
        name,
        value: '1',
      }),
    );
    const target = readTarget(configure({ headerList }), (text) => warnings.push(text));
    assert.deepEqual(target.headers, []);
    assert.deepEqual(
      warnings.map((text) => /^headerList\[\d\]/.exec(text)?.[0]),
      ['headerList[0]', 'headerList[1]', 'headerList[2]', 'headerList[3]'],
    );
  });

  test('name a body by its kind unless something else is configured', () => {
    assert.deepEqual(lines(compose({}, { body: { a: 1 } }).headers, 'content-type'), ['application/json']);
    assert.deepEqual(lines(compose({}, { body: 'text' }).headers, 'content-type'), [
      'text/plain; charset=utf-8',
    ]);
    assert.deepEqual(lines(compose({}).headers, 'content-type'), []);
    const headerList = [{ name: 'Content-Type', value: 'application/cloudevents+json' }];
    assert.deepEqual(lines(compose({ headerList }, { body: { a: 1 } }).headers, 'content-type'), [
      'application/cloudevents+json',
    ]);
  });

  test('carry user and password of the URL as Basic authentication, and the URL no longer does', () => {
    const { headers, url } = compose({ fullUrl: 'https://us%40er:p%3Ass@example.com/' });
    assert.deepEqual(lines(headers, 'authorization'), [`Basic ${btoa('us@er:p:ss')}`]);
    assert.equal(url.href, 'https://example.com/');
  });
});

describe('body', () => {
  for (const [body, sent] of [
    ['{"as": "it is"}', '{"as": "it is"}'],
    [{ a: [1, null] }, '{"a":[1,null]}'],
    [null, 'null'],
    [0, '0'],
    [false, 'false'],
  ] as const)
    test(`${JSON.stringify(body)} is sent as ${sent}`, () => {
      assert.equal(compose({}, { body }).body?.toString(), sent);
    });

  test('is refused with TRACE', () => {
    assert.throws(() => compose({ httpMethod: 'TRACE' }, { body: 'x' }), refusal('bad_request', /^body/));
  });
});

describe('query', () => {
  const merge = (url: string, query: Parameters<typeof mergeQuery>[1]) =>
    mergeQuery(new URL(url), query).href;

  test('is appended, encoded, and leaves what is configured as it is', () => {
    assert.equal(
      merge('https://h/p?a=%20b+c&d', { x: 'a&b=c#d', y: ['1', 2, true] }),
      'https://h/p?a=%20b+c&d&x=a%26b%3Dc%23d&y=1&y=2&y=true',
    );
  });

  test('replaces configured parameters, however they are encoded', () => {
    assert.equal(merge('https://h/p?%61=1&b=2&a=3', { a: 'new' }), 'https://h/p?b=2&a=new');
  });

  test('without parameters changes nothing', () => {
    assert.equal(merge('https://h/p?', {}), 'https://h/p?');
  });

  for (const name of ['token', 'api_key', 'sig'])
    test(`does not replace the credential ${name}`, () => {
      assert.throws(
        () => compose({ fullUrl: `https://h/p?${name}=abc` }, { query: { [name]: 'x' } }),
        refusal('bad_request', new RegExp(`^query\\.${name}`)),
      );
    });

  test('does not replace anything of a URL that is a credential', () => {
    const fullUrl = 'https://h/p?room=1';
    assert.throws(
      () => compose({ fullUrl, fullUrlSecret: true }, { query: { room: '2' } }),
      refusal('bad_request', /^query\.room/),
    );
    assert.equal(compose({ fullUrl }, { query: { room: '2' } }).url.href, 'https://h/p?room=2');
  });
});

describe('redirect', () => {
  const withCredentials: Partial<WebhookConfig> = {
    fullUrl: 'https://user:hunter22@a.example/hook?token=tok123&room=1',
    headerList: [
      { name: 'X-Api-Key', value: 'key123' },
      { name: 'X-Tenant', value: 'acme' },
      { name: 'Accept', value: 'application/json' },
    ],
    signingSecret: 'sign123',
  };
  const follow = (
    location: string,
    { status = 307, ...fields }: Partial<WebhookConfig> & { status?: number } = {},
  ) => {
    const message = compose({ ...withCredentials, ...fields }, { body: { a: 1 } });
    return { message, next: nextHop(message, firstHop(message), status, location) };
  };

  test('within the origin keeps everything', () => {
    const { message, next } = follow('/other');
    assert.equal(next?.url.href, 'https://a.example/other');
    const headers = wireHeaders(message, next!, 1);
    for (const name of ['x-api-key', 'authorization', 'webhook-signature'])
      assert.equal(lines(headers, name).length, 1);
  });

  for (const location of [
    'https://b.example/',
    'https://a.example:8443/',
    'https://user:pw@b.example/?token=tok123&other=1',
    '//b.example/?t=tok123',
  ])
    test(`to ${location} carries no credential`, () => {
      const { message, next } = follow(location);
      const sent = JSON.stringify([next!.url.href, wireHeaders(message, next!, 1)]);
      assert.doesNotMatch(sent, /key123|hunter22|tok123|acme|authorization|webhook-|user:/i);
      assert.deepEqual(lines(next!.headers, 'accept'), ['application/json']);
    });

  test('back to the first origin stays without credentials', () => {
    const { message, next } = follow('https://b.example/');
    const back = nextHop(message, next!, 307, 'https://a.example/hook');
    assert.deepEqual(lines(wireHeaders(message, back!, 1), 'x-api-key'), []);
    assert.deepEqual(lines(wireHeaders(message, back!, 1), 'webhook-signature'), []);
  });

  for (const location of [
    'http://a.example/hook',
    'ftp://a.example/',
    'file:///etc/passwd',
    'https://',
    undefined,
  ])
    test(`to ${location} is not followed`, () => {
      const message = compose(withCredentials);
      assert.equal(nextHop(message, firstHop(message), 302, location), undefined);
    });

  test('away from a URL that is a credential is not followed', () => {
    assert.equal(follow('https://b.example/', { fullUrlSecret: true }).next, undefined);
    assert.ok(follow('/elsewhere', { fullUrlSecret: true }).next);
  });

  test('turns POST into GET as RFC 9110 15.4 says, and the body goes with its headers', () => {
    for (const status of [301, 302, 303]) {
      const { next } = follow('/done', { status });
      assert.equal(next?.method, 'GET');
      assert.equal(next?.body, undefined);
      assert.deepEqual(lines(next!.headers, 'content-type'), []);
    }
    for (const status of [307, 308]) {
      const { next } = follow('/again', { status });
      assert.equal(next?.method, 'POST');
      assert.equal(next?.body?.toString(), '{"a":1}');
    }
    assert.equal(follow('/done', { status: 302, httpMethod: 'PUT' }).next?.method, 'PUT');
    for (const status of [200, 300, 304, 404]) assert.equal(follow('/x', { status }).next, undefined);
  });
});

describe('answer', () => {
  const read = (body: Buffer, type?: string, truncated = false) =>
    readableBody(body, type === undefined ? {} : { 'content-type': [type] }, truncated, () => [
      's3cr3t-value',
    ]);

  test('is text where its type says so, in its character set', () => {
    assert.deepEqual(read(Buffer.from('{"é":1}'), 'application/problem+json'), {
      body: '{"é":1}',
      bodyEncoding: 'utf8',
    });
    assert.equal(read(Buffer.from('é', 'latin1'), 'text/plain; charset=ISO-8859-1').body, 'é');
  });

  test('is base64 where it is not text, or not what it says', () => {
    for (const [body, type] of [
      [Buffer.from([1, 2, 255]), 'image/png'],
      [Buffer.from([0xff, 0xfe]), 'application/json'],
      [Buffer.from('abc'), 'text/plain; charset=klingon'],
      [Buffer.from([0xc3]), undefined],
      [Buffer.from('a\0b'), undefined],
    ] as const)
      assert.deepEqual(read(body, type), { body: body.toString('base64'), bodyEncoding: 'base64' });
  });

  test('that was cut off within a character stays text', () => {
    const cut = Buffer.from('aé').subarray(0, 2);
    assert.deepEqual(read(cut, 'text/plain', true), { body: 'a', bodyEncoding: 'utf8' });
  });

  test('that echoes a secret holds it in no encoding', () => {
    const { body } = read(Buffer.from('\xff..s3cr3t-value..', 'latin1'), 'application/octet-stream');
    assert.equal(Buffer.from(body, 'base64').toString('latin1'), '\xff..***..');
  });

  test('knows every secret of a configuration', () => {
    const secrets = secretValues(
      configure({
        fullUrl: 'https://user:p%40ss@h/p?token=tok123&room=1',
        headerList: [
          { name: 'Authorization', value: 'Bearer abc' },
          { name: 'X-Plain', value: 'plain' },
        ],
        signingSecret: 'sign',
      }),
    );
    assert.deepEqual(new Set(secrets), new Set(['Bearer abc', 'p%40ss', 'p@ss', 'tok123', 'sign']));
  });
});

describe('definition', () => {
  const normalised = (fields: Record<string, unknown>) => {
    webhook.normalise?.(fields);
    return fields['fullUrlSecret'];
  };

  test('knows URLs that are credentials', () => {
    for (const fullUrl of [
      'https://hooks.slack.com/services/T/B/x',
      'https://HOOKS.SLACK.COM./services/T/B/x',
      'https://discord.com/api/webhooks/1/x',
      'https://acme.webhook.office.com/webhookb2/x',
    ])
      assert.equal(normalised({ fullUrl }), true, fullUrl);
    for (const fullUrl of [
      'https://slack.com/',
      'https://hooks.slack.com.evil.example/',
      'https://example.com/',
    ])
      assert.equal(normalised({ fullUrl }), undefined, fullUrl);
    assert.equal(normalised({ fullUrl: 'https://hooks.slack.com/x', fullUrlSecret: false }), false);
    assert.equal(normalised({ fullUrl: 7 }), undefined);
  });

  test('wants no smaller pool in total than a host may have', () => {
    const faults: string[] = [];
    const check = (total: number) =>
      webhook.refine?.(
        configure({ connectionPoolMaxConnectionTotal: total }),
        (field) => faults.push(field),
        'stored',
      );
    check(24);
    assert.deepEqual(faults, []);
    check(23);
    assert.deepEqual(faults, ['connectionPoolMaxConnectionTotal']);
  });
});

describe('classify', () => {
  const coded = (code: string) => Object.assign(new Error('driver text'), { code });
  for (const [code, expected] of [
    ['UND_ERR_CONNECT_TIMEOUT', 'connect_timeout'],
    ['UND_ERR_HEADERS_TIMEOUT', 'target_timeout'],
    ['UND_ERR_BODY_TIMEOUT', 'target_timeout'],
    ['UND_ERR_SOCKET', 'connection_lost'],
    ['UND_ERR_HEADERS_OVERFLOW', 'protocol_error'],
    ['UND_ERR_DESTROYED', 'cancelled'],
    ['HPE_INVALID_CONSTANT', 'protocol_error'],
    ['ECONNREFUSED', 'connection_refused'],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'tls_failed'],
  ] as const)
    test(`${code} is ${expected}`, () => {
      assert.equal(webhookConnector.classify(coded(code)).code, expected);
    });

  test('lets our own errors pass, also as a cause', () => {
    const own = new AppError('egress_denied');
    assert.equal(webhookConnector.classify(own), own);
    assert.equal(webhookConnector.classify(new Error('wrapped', { cause: own })), own);
  });

  test('tells a deadline from a cancellation', () => {
    assert.equal(webhookConnector.classify(new DOMException('x', 'TimeoutError')).code, 'target_timeout');
    assert.equal(webhookConnector.classify(new DOMException('x', 'AbortError')).code, 'cancelled');
  });

  test('survives what is no error', () => {
    for (const thrown of [undefined, null, 'text', 7])
      assert.equal(webhookConnector.classify(thrown).code, 'internal_error');
  });
});

test('an IPv6 address is dialled without brackets', () => {
  assert.equal(dialHost(new URL('http://[::1]:80/')), '::1');
  assert.equal(dialHost(new URL('http://example.com/')), 'example.com');
});
