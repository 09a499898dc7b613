import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { after, before, test } from 'node:test';
import type { OpenApiDocument } from '../harness/fuzz-requests.ts';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';

const base = '/apiops/projects/MyProject/connections';
let plugboard: Plugboard;
const call: Plugboard['call'] = (...given) => plugboard.call(...given);

before(async () => {
  plugboard = await startPlugboard({ projects: ['MyProject', 'TheirProject'] });
});
after(() => plugboard.stop());

async function tokenFor(grants: object[]): Promise<string> {
  const made = await call('POST', '/apiops/tokens/', { name: 'limited', grants });
  assert.equal(made.status, 200, made.text);
  return made.body.token;
}

const mail = (name: string, more: object = {}) => ({
  type: 'email',
  name,
  host: '127.0.0.1',
  port: 9,
  ...more,
});

/** An answer without what differs by its nature: the request's id, the names that were sent, the date. */
function comparable(answer: Answer, names: string[]): string {
  let text = answer.text.replace(/"request_id":"[^"]+"/, '"request_id":""');
  for (const name of names) text = text.replaceAll(name, 'NAME');
  const headers = [...answer.headers]
    .filter(([name]) => !['date', 'content-length'].includes(name))
    .map(([name, value]) => `${name}: ${value}`);
  return `${answer.status}\n${headers.join('\n')}\n${text}`;
}

/** Counts what the database is asked while `work` runs. */
async function queriesOf(work: () => Promise<unknown>): Promise<number> {
  const { db } = plugboard;
  const original = { all: db.all, get: db.get, write: db.write };
  let count = 0;
  for (const name of ['all', 'get', 'write'] as const)
    (db as unknown as Record<string, unknown>)[name] = (...given: unknown[]) => {
      // What the hub does every five seconds, whoever asks for what.
      if (!/storeLastSeen|lookForChanges/.test(new Error().stack!)) count += 1;
      return (original[name] as (...all: unknown[]) => unknown).apply(db, given);
    };
  try {
    await work();
  } finally {
    // What stood on the prototype stands there again.
    for (const name of ['all', 'get', 'write'] as const)
      delete (db as unknown as Record<string, unknown>)[name];
  }
  return count;
}

test('security 6: another tenant is not there, byte for byte and query for query, on every route of OpenAPI', async () => {
  const theirs = '/apiops/projects/TheirProject/connections';
  assert.equal((await call('POST', `${theirs}/treasure/?async=true`, mail('treasure'))).status, 200);
  const token = await tokenFor([
    {
      project: 'MyProject',
      permissions: [
        'CONNECTIONS:VIEW',
        'CONNECTIONS:REVEAL',
        'CONNECTIONS:MANAGE',
        'CONNECTIONS:TEST',
        'CONNECTIONS:USE',
        'CONNECTIONS:DEPLOY',
        'AUDIT:VIEW',
        'PROJECT:MANAGE',
      ],
    },
  ]);
  const document = (await call('GET', '/apiops/openapi.json')).body as OpenApiDocument;
  let routes = 0;
  for (const [template, methods] of Object.entries(document.paths)) {
    if (!template.includes('{project}')) continue;
    for (const method of Object.keys(methods)) {
      routes += 1;
      const path = (project: string) =>
        template
          .replace('{project}', project)
          .replace('{connection}', 'treasure')
          .replace('{revision}', '1')
          .replace('{operation}', 'send');
      const body = ['post', 'put'].includes(method) ? mail('treasure') : undefined;
      const ask = (project: string) => call(method.toUpperCase(), path(project), body, { token });
      let there: Answer | undefined;
      let absent: Answer | undefined;
      const asked = await queriesOf(async () => {
        there = await ask('TheirProject');
      });
      const askedOfNothing = await queriesOf(async () => {
        absent = await ask('NobodysProj1');
      });
      assert.equal(there!.status, 404, `${method} ${template}: ${there!.text}`);
      assert.equal(
        comparable(there!, ['TheirProject']),
        comparable(absent!, ['NobodysProj1']),
        `${method} ${template}`,
      );
      assert.equal(asked, askedOfNothing, `queries of ${method} ${template}`);
    }
  }
  assert.ok(routes >= 15, `${routes} routes`);
  const listed = await call('GET', '/apiops/projects/', undefined, { token });
  assert.deepEqual(
    listed.body.resultList.map(({ name }: { name: string }) => name),
    ['MyProject'],
  );
  const audit = await call('GET', '/apiops/audit/', undefined, { token });
  assert.ok(!audit.text.includes('TheirProject') && !audit.text.includes('treasure'));
  assert.equal((await call('GET', `${theirs}/treasure/`)).status, 200, 'and it was not touched');
});

test('security 6: the stream of events shows nothing of another tenant', async () => {
  const token = await tokenFor([{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }]);
  const ending = new AbortController();
  const stream = await fetch(`${plugboard.url}/apiops/events/`, {
    headers: { authorization: `Bearer ${token}` },
    signal: ending.signal,
  });
  let seen = '';
  const reading = (async () => {
    for await (const chunk of stream.body!) {
      seen += Buffer.from(chunk).toString();
      if (seen.includes('mine-last')) return;
    }
  })();
  for (const name of ['theirs-1', 'theirs-2'])
    await call('POST', `/apiops/projects/TheirProject/connections/${name}/`, mail(name));
  await call('DELETE', '/apiops/projects/TheirProject/connections/theirs-1/');
  await call('POST', `${base}/mine-last/`, mail('mine-last'));
  await reading;
  ending.abort();
  assert.ok(!seen.includes('theirs') && !seen.includes('TheirProject'), seen);
});

test('security 6: a grant that is narrowed to names or environments does not reach beyond them', async () => {
  assert.equal(
    (await call('POST', '/apiops/environments/', { name: 'sandbox', type: 'SANDBOX' })).status,
    200,
  );
  const project = { name: 'Narrow', environments: ['production', 'sandbox'] };
  assert.equal((await call('POST', '/apiops/projects/', project)).status, 200);
  const path = '/apiops/projects/Narrow/connections';
  const permissions = ['CONNECTIONS:VIEW', 'CONNECTIONS:REVEAL', 'CONNECTIONS:MANAGE'];
  const names = await tokenFor([{ project: 'Narrow', permissions, connections: ['mine-*'] }]);
  const places = await tokenFor([{ project: 'Narrow', permissions, environments: ['sandbox'] }]);
  assert.equal((await call('POST', `${path}/other-1/?async=true`, mail('other-1'))).status, 200);
  assert.equal(
    (await call('POST', `${path}/mine-1/?async=true`, mail('mine-1'), { token: names })).status,
    200,
  );
  for (const [method, where, body] of [
    ['GET', '/other-1/', undefined],
    ['PUT', '/other-1/', mail('other-1')],
    ['POST', '/other-2/', mail('other-2')],
    ['DELETE', '/other-1/', undefined],
    ['PUT', '/mine-1/?rename=true', mail('other-2')],
    ['GET', '/other-1/revisions/1/', undefined],
    ['POST', '/other-1/revisions/1/restore/', undefined],
  ] as const) {
    const answer = await call(method, `${path}${where}`, body, { token: names });
    assert.equal(answer.status, 403, `${method} ${where}: ${answer.text}`);
  }
  const listed = await call('GET', `${path}/?type=*`, undefined, { token: names });
  assert.deepEqual(
    listed.body.resultList.map(({ name }: { name: string }) => name),
    ['mine-1'],
  );
  const everywhere = await call('POST', `${path}/wide/`, mail('wide'), { token: places });
  assert.equal(everywhere.status, 403, everywhere.text);
  const narrow = mail('narrow', { environments: ['sandbox'] });
  const created = await call('POST', `${path}/narrow/?async=true`, narrow, { token: places });
  assert.equal(created.status, 200, created.text);
  const widened = await call('PUT', `${path}/narrow/`, mail('narrow', { environments: [] }), {
    token: places,
  });
  assert.equal(widened.status, 403, widened.text);
});

/** A request whose path is sent as it is written. */
function raw(
  method: string,
  path: string,
  token: string | undefined,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(plugboard.url);
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      {
        host: hostname,
        port,
        method,
        path,
        agent: false,
        headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
      },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on('end', () => resolve({ status: response.statusCode!, text }));
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}

test('security 7: no spelling of a path reaches a handler under weaker rules', async () => {
  const body = mail('hidden', { auth: true, username: 'u', password: 'path-secret' });
  assert.equal(
    (await call('POST', '/apiops/projects/TheirProject/connections/hidden/?async=true', body)).status,
    200,
  );
  const mine = await tokenFor([
    { project: 'MyProject', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:REVEAL', 'CONNECTIONS:MANAGE'] },
  ]);
  const target = 'projects/TheirProject/connections/hidden';
  const spellings = [
    `/apiops/${target}/`,
    `//apiops//${target}//`,
    `/apiops//${target}/`,
    `/apiops/projects/MyProject/../TheirProject/connections/hidden/`,
    `/apiops/projects/MyProject/%2e%2e/TheirProject/connections/hidden/`,
    `/apiops/projects/MyProject%2f..%2fTheirProject/connections/hidden/`,
    `/apiops/projects/MyProject/connections/..%2f..%2fTheirProject%2fconnections%2fhidden/`,
    `/apiops/projects/MyProject/connections/%2e%2e/%2e%2e/TheirProject/connections/hidden/`,
    `/apiops/projects/theirproject/connections/hidden/`,
    `/apiops/projects/TheirProject./connections/hidden/`,
    `/apiops/projects/TheirProject%20/connections/hidden/`,
    `/apiops/projects/TheirProject%00/connections/hidden/`,
    `/apiops/projects/%54heirProject/connections/hidden/`,
    `/apiops/projects/%2554heirProject/connections/hidden/`,
    `/APIOPS/${target}/`,
    `/apiops/./${target}/`,
    `/apiops/test/healthcheck/../../${target}/`,
    `/apiops/test/healthcheck/..%2f..%2f${target}/`,
    `/healthz/../apiops/${target}/`,
    `/docs/../apiops/${target}/`,
    `/docs/..%2fapiops/${target}/`,
    `/ui/../apiops/${target}/`,
    `/assets/..%2f..%2fapiops/${target}/`,
    `/apiops/${target};/`,
    `/apiops/${target}/?project=MyProject`,
    `/apiops\\${target}/`,
    `${plugboard.url}/apiops/${target}/`,
    `http://elsewhere/apiops/${target}/`,
  ];
  for (const token of [undefined, 'wrong', mine])
    for (const spelling of spellings)
      for (const method of ['GET', 'DELETE']) {
        const answer = await raw(method, spelling, token);
        assert.ok(
          answer.status >= 400 && answer.status < 500,
          `${method} ${spelling}: ${answer.status} ${answer.text}`,
        );
        assert.ok(!answer.text.includes('path-secret') && !answer.text.includes('"host"'), spelling);
      }
  for (const header of [
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
    'x-original-url',
    'x-rewrite-url',
  ]) {
    const value = header.includes('url') ? `/apiops/${target}/` : 'DELETE';
    const answer = await raw('GET', '/apiops/projects/TheirProject/connections/hidden/', mine, {
      [header]: value,
    });
    assert.equal(answer.status, 404, header);
    await raw('POST', '/apiops/test/healthcheck', undefined, { [header]: value });
  }
  const twice = await raw('GET', `${base}/?type=email&type=*`, mine);
  assert.equal(twice.status, 400, twice.text);
  assert.match(twice.text, /"field":"type"/);
  const intact = await call('GET', '/apiops/projects/TheirProject/connections/hidden/');
  assert.equal(intact.body.resultList[0].password, 'path-secret');
});

test('security 10: tests need TEST, at most 20 a minute a target, at most 60 a minute a token', async () => {
  const path = `${base}/scanned/`;
  assert.equal((await call('POST', `${path}?async=true`, mail('scanned'))).status, 200);
  const views = await tokenFor([
    { project: 'MyProject', permissions: ['CONNECTIONS:VIEW', 'CONNECTIONS:MANAGE'] },
  ]);
  for (const where of [`${path}test/`, '/apiops/projects/MyProject/connection-test/']) {
    const refused = await call('POST', where, mail('scanned'), { token: views });
    assert.equal(refused.status, 403, refused.text);
    assert.match(refused.body.error_description, /CONNECTIONS:TEST/);
  }
  const tester = await tokenFor([
    { project: 'MyProject', permissions: ['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] },
  ]);
  const startedAt = Date.now();
  /** How many of so many tests were let through, and whether that keeps to the rate (which fills up again as time goes by). */
  const keepsTo = async (perMinute: number, tries: number, ask: (round: number) => Promise<Answer>) => {
    const statuses: number[] = [];
    for (let round = 0; round < tries; round++) statuses.push((await ask(round)).status);
    const taken = statuses.filter((status) => status === 200).length;
    const refused = statuses.filter((status) => status === 429).length;
    const most = perMinute + Math.ceil(((Date.now() - startedAt) / 60_000) * perMinute);
    assert.equal(taken + refused, tries);
    assert.ok(refused > 0 && taken <= most, `${taken} of ${tries} were taken, at most ${most} may be`);
    return taken;
  };
  const taken = await keepsTo(20, 30, () => call('POST', `${path}test/`, undefined, { token: tester }));
  assert.ok(taken >= 20);
  await keepsTo(60, 80, (round) =>
    call('POST', '/apiops/projects/MyProject/connection-test/', mail('a draft', { port: 1000 + round }), {
      token: tester,
    }),
  );
});

test('security 12, 13: nothing opens with a default; tokens are stored hashed and carry prefix and checksum', async () => {
  for (const [id, secret] of [
    ['admin', 'admin'],
    ['admin', 'password'],
    ['root', 'root'],
    ['plugboard', 'plugboard'],
    ['', ''],
  ]) {
    const answer = await call(
      'POST',
      '/apiops/auth/token',
      `grant_type=client_credentials&client_id=${id}&client_secret=${secret}`,
      {
        token: null,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
      },
    );
    assert.ok([400, 401, 429].includes(answer.status), answer.text);
  }
  const user = { username: 'somebody', password: 'a long pass phrase' };
  assert.equal((await call('POST', '/apiops/users/', user)).status, 200);
  const token = await tokenFor([{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }]);
  assert.match(token, /^pb[a-z]_/, 'a prefix that scanners can find');
  const stored = JSON.stringify([
    await plugboard.db.all('select * from tokens'),
    await plugboard.db.all('select * from users'),
  ]);
  for (const secret of [token, plugboard.token, user.password]) assert.ok(!stored.includes(secret));
  assert.match(stored, /scrypt|argon2/);
});

test('security 13: an unknown token costs no query more than a known one, and every refusal is the same', async () => {
  const known = await tokenFor([{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }]);
  const made = await call('POST', '/apiops/tokens/', {
    name: 'revoked',
    grants: [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }],
  });
  const revoked: string = made.body.token;
  assert.equal((await call('DELETE', `/apiops/tokens/${made.body.id}/`)).status, 200);
  const path = '/apiops/test/hello/x';
  const withKnown = await queriesOf(() => call('GET', path, undefined, { token: known }));
  const withUnknown = await queriesOf(() =>
    call('GET', path, undefined, { token: `${known.slice(0, -1)}x` }),
  );
  assert.equal(withUnknown, withKnown);
  const texts = new Set<string>();
  for (const authorization of [
    'Bearer x',
    'Bearer',
    `Basic ${known}`,
    `Bearer ${revoked}`,
    `Bearer ${known}x`,
    '',
    `bearer  `,
  ])
    texts.add(
      comparable(await call('GET', path, undefined, { token: null, headers: { authorization } }), []),
    );
  texts.add(comparable(await call('GET', path, undefined, { token: null }), []));
  assert.equal(texts.size, 1, [...texts].join('\n---\n'));
  assert.match([...texts][0]!, /^401[\s\S]*Invalid token/);
});

test('security 15: a write repeated under its key is done once, answers without secrets, and is nobody else’s', async () => {
  const headers = { 'idempotency-key': 'once-only' };
  const path = `${base}/once/`;
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => call('POST', `${path}?async=true`, mail('once'), { headers })),
  );
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
  const tags = new Set(answers.map(({ headers }) => headers.get('etag')));
  assert.deepEqual([...tags], [(await call('GET', path)).headers.get('etag')]);
  assert.equal((await call('GET', `${path}revisions/`)).body.resultCount, 1);
  const another = await call('POST', `${path}?async=true`, mail('once', { port: 10 }), { headers });
  assert.equal(another.status, 422);
  const other = await tokenFor([{ project: 'MyProject', permissions: ['CONNECTIONS:MANAGE'] }]);
  const theirs = await call('POST', `${path}?async=true`, mail('once'), { headers, token: other });
  assert.equal(theirs.status, 400, 'not the answer of another principal');
  assert.match(theirs.body.error_description, /already exists/);

  const grants = [{ project: 'MyProject', permissions: ['CONNECTIONS:VIEW'] }];
  const first = await call('POST', '/apiops/tokens/', { name: 'shown once', grants }, { headers });
  const again = await call('POST', '/apiops/tokens/', { name: 'shown once', grants }, { headers });
  assert.equal(again.body.id, first.body.id);
  assert.ok(first.body.token && !again.text.includes(first.body.token));
});

test('security 16: of two writers with the same If-Match one wins', async () => {
  const path = `${base}/raced/`;
  const tag = (await call('POST', `${path}?async=true`, mail('raced'))).headers.get('etag')!;
  assert.ok(tag);
  const headers = { 'if-match': tag };
  const answers = await Promise.all(
    [1, 2, 3, 4].map((port) => call('PUT', `${path}?async=true`, mail('raced', { port }), { headers })),
  );
  assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 412, 412, 412]);
  const winner = answers.findIndex(({ status }) => status === 200);
  assert.equal((await call('GET', path)).body.resultList[0].port, winner + 1);
  assert.equal((await call('DELETE', path, undefined, { headers })).status, 412);
  const now = (await call('GET', path)).headers.get('etag')!;
  assert.equal((await call('DELETE', path, undefined, { headers: { 'if-match': now } })).status, 200);
});

test('the order of checks: permission and body are told before If-Match is', async () => {
  const path = `${base}/ordered/`;
  await call('POST', `${path}?async=true`, mail('ordered'));
  const headers = { 'if-match': '"of another"' };
  const faulty = await call('PUT', path, mail('ordered', { port: 0 }), { headers });
  assert.equal(faulty.status, 400, faulty.text);
  assert.match(faulty.text, /port/);
  const grants = [{ project: 'MyProject', permissions: ['CONNECTIONS:MANAGE'], connections: ['others-*'] }];
  const { token } = (await call('POST', '/apiops/tokens/', { name: 'of others', grants })).body;
  for (const method of ['PUT', 'DELETE']) {
    const body = method === 'PUT' ? mail('ordered') : undefined;
    assert.equal((await call(method, path, body, { headers, token })).status, 403, method);
    assert.equal((await call(method, path, body, { headers })).status, 412, method);
  }
  assert.equal((await call('POST', `${path}revisions/9/restore/`, undefined, { headers })).status, 404);
  assert.equal((await call('POST', `${path}revisions/1/restore/`, undefined, { headers })).status, 412);
});

test('security 22: a change that cannot be audited does not happen', async () => {
  const path = `${base}/audited/`;
  assert.equal(
    (
      await call(
        'POST',
        `${path}?async=true`,
        mail('audited', { auth: true, username: 'u', password: 'audit-secret' }),
      )
    ).status,
    200,
  );
  const before = await snapshot();
  await plugboard.db.write((tx) =>
    tx.run(
      "create trigger no_audit before insert on audit begin select raise(abort, 'the audit is full'); end",
    ),
  );
  try {
    for (const [method, where, body] of [
      ['POST', `${base}/unaudited/`, mail('unaudited')],
      ['PUT', path, mail('audited', { auth: true, username: 'u', description: 'changed' })],
      ['DELETE', path, undefined],
      ['GET', path, undefined],
      ['POST', `${path}undeploy/`, undefined],
      ['POST', `${path}revisions/1/restore/`, undefined],
      ['POST', '/apiops/projects/', { name: 'Unaudited' }],
      ['POST', '/apiops/environments/', { name: 'unaudited' }],
      [
        'POST',
        '/apiops/tokens/',
        { name: 'unaudited', grants: [{ project: 'MyProject', permissions: ['AUDIT:VIEW'] }] },
      ],
      ['POST', '/apiops/users/', { username: 'unaudited', password: 'some pass phrase' }],
    ] as const) {
      const answer = await call(method, where, body);
      assert.ok(answer.status >= 500, `${method} ${where}: ${answer.status} ${answer.text}`);
      assert.ok(!answer.text.includes('audit-secret') && !answer.text.includes('is full'), answer.text);
    }
  } finally {
    await plugboard.db.write((tx) => tx.run('drop trigger no_audit'));
  }
  assert.deepEqual(await snapshot(), before);
  for (const path of ['/apiops/projects/', '/apiops/environments/', '/apiops/users/', '/apiops/tokens/'])
    assert.ok(!(await call('GET', path)).text.includes('naudited'), path);
  assert.equal(
    (await call('PUT', `${path}?async=true`, mail('audited'))).status,
    200,
    'and goes on afterwards',
  );
});

async function snapshot(): Promise<unknown> {
  const { db } = plugboard;
  const tables = [
    'connections',
    'revisions',
    'projects',
    'environments',
    'tokens',
    'users',
    'change_counter',
  ];
  return Promise.all([
    ...tables.map((table) => db.all(`select * from ${table} order by 1, 2`)),
    // Verdicts come in by themselves.
    db.all('select connection_id, environment_id, undeployed from deployments order by 1, 2'),
  ]);
}
