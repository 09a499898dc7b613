import assert from 'node:assert/strict';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { definitions } from '../../src/connectors/definitions.ts';
import { sampleValue } from '../../src/connectors/sample-body.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { allFields } from '../../src/contract/definition-schema.ts';
import { createNetwork } from '../../src/worker/egress.ts';
import { createEgressPolicy } from '../../src/worker/egress-policy.ts';
import {
  type CanaryConnection,
  canaryConnections,
  canarySearch,
  formsOf,
  newCanary,
  searchFiles,
  withCanaries,
} from '../harness/canaries.ts';
import { type EchoingTarget, startEchoingTarget } from '../harness/echoing-target.ts';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { callUrl, newSite, runToEnd, type Site, startProcess } from '../harness/plugboard-process.ts';
import { freePort } from '../services/service.ts';

const base = '/apiops/projects/MyProject/connections';
const connections = canaryConnections();
/** Of the types that are live, with what makes their clients send the secrets. */
const live: CanaryConnection[] = [
  withCanaries(
    definitions.email as unknown as ConnectionType,
    {
      type: 'email',
      host: 'mail.example',
      auth: true,
      username: 'me',
      password: 'x-secret',
      from: 'a@b.example',
    },
    'live mail',
  ),
  withCanaries(
    definitions.webhook as unknown as ConnectionType,
    {
      type: 'webhook',
      httpMethod: 'POST',
      fullUrl: 'http://hook.example/path',
      signingSecret: 'x-secret',
      headerList: [
        { name: 'Authorization', value: 'Bearer x-secret' },
        { name: 'X-Api-Key', value: 'x-secret' },
      ],
    },
    'live hook',
  ),
  withCanaries(
    definitions.database as unknown as ConnectionType,
    {
      type: 'database',
      jdbcUrl: 'jdbc:postgresql://db.example/x',
      username: 'me',
      password: 'x-secret',
      connectionTimeout: 1000,
    },
    'live base',
  ),
];
const everything = [...connections, ...live];
const canaries = everything.flatMap((connection) => connection.canaries);
const search = canarySearch(canaries);
const openText = newCanary('a description, which is no secret');

describe('canary secrets in the all-in-one (security 3, 4, 5)', () => {
  let plugboard: Plugboard;
  let target: EchoingTarget;
  let closedPort: number;
  let dialledPort: number;
  let token: string;
  /** Every answer that was given to a token without REVEAL. */
  const answers: { where: string; text: string }[] = [];
  let events = '';
  const eventsEnd = new AbortController();

  before(async () => {
    target = await startEchoingTarget();
    closedPort = await freePort();
    dialledPort = closedPort;
    const network = createNetwork({
      policy: createEgressPolicy(),
      lookup: async () => [{ address: '127.0.0.1', family: 4 }],
    });
    plugboard = await startPlugboard({
      workerOptions: {
        network: {
          ...network,
          connect: (where) => network.connect({ ...where, host: '127.0.0.1', port: dialledPort }),
        },
      },
    });
    const made = await plugboard.call('POST', '/apiops/tokens/', {
      name: 'sees no secret',
      grants: [
        {
          project: 'MyProject',
          permissions: [
            'CONNECTIONS:VIEW',
            'CONNECTIONS:MANAGE',
            'CONNECTIONS:TEST',
            'CONNECTIONS:USE',
            'CONNECTIONS:DEPLOY',
            'AUDIT:VIEW',
          ],
        },
      ],
    });
    token = made.body.token;
    const stream = await fetch(`${plugboard.url}/apiops/events/`, {
      headers: { authorization: `Bearer ${plugboard.token}` },
      signal: eventsEnd.signal,
    });
    void (async () => {
      for await (const chunk of stream.body!) events += Buffer.from(chunk).toString();
    })().catch(() => {});
  });

  after(async () => {
    eventsEnd.abort();
    await plugboard.stop();
    await target.close();
  });

  async function ask(method: string, path: string, body?: unknown, bearer = token): Promise<Answer> {
    const answer = await plugboard.call(method, path, body, { token: bearer });
    answers.push({
      where: `${method} ${path} → ${answer.status}`,
      text: `${answer.text}\n${JSON.stringify([...answer.headers])}`,
    });
    return answer;
  }

  const pathOf = ({ name }: CanaryConnection) => `${base}/${encodeURIComponent(name)}/`;

  test('the search finds each form of a planted secret', async () => {
    for (const { core, value } of canaries.slice(0, 5))
      for (const text of [
        value,
        encodeURIComponent(value),
        JSON.stringify({ a: `"${value}` }),
        btoa(value),
        btoa(`x${value}`),
        btoa(`xy${value}`),
        Buffer.from(`user:${value}`).toString('base64url'),
        Buffer.from(value).toString('hex'),
      ])
        assert.equal(search(`before ${text} after`).length, 1, `${core} in ${text}`);
    assert.deepEqual(search('nothing is here'), []);
    assert.ok(canaries.length > 30, `${canaries.length} canaries`);
  });

  test('created, and revealed to whom may see them alone', async () => {
    for (const connection of everything) {
      const body = { ...connection.body, description: openText.value };
      const created = await ask('POST', `${pathOf(connection)}?async=true`, body);
      assert.equal(created.status, 200, `${connection.name}: ${created.text}`);
      // The positive control: what is searched for is really stored.
      const revealed = await plugboard.call('GET', pathOf(connection));
      for (const canary of connection.canaries)
        assert.ok(
          formsOf(canary.core).some((form) => revealed.text.includes(form)),
          `${connection.name} ${canary.place}`,
        );
    }
    const audit = await plugboard.call('GET', '/apiops/audit/?action=connection.reveal&size=1');
    assert.equal(audit.body.resultCount, everything.length, 'every reveal is an audit event');
  });

  test('read in every way without REVEAL', async () => {
    for (const connection of everything) {
      const got = await ask('GET', pathOf(connection));
      assert.equal(got.status, 200);
      await ask('GET', `${base}/?type=${connection.definition.type}`);
      for (const part of ['deployments', 'revisions', 'revisions/1', 'health'])
        assert.equal((await ask('GET', `${pathOf(connection)}${part}/`)).status, 200, part);
    }
    assert.equal((await ask('GET', `${base}/?type=*`)).body.resultCount, everything.length);
    assert.ok(answers.some(({ text }) => text.includes(openText.core)));
    const audit = await plugboard.call('GET', '/apiops/audit/?action=connection.reveal&size=1');
    assert.equal(audit.body.resultCount, everything.length, 'nothing was revealed by these');
  });

  test('changed: kept, moved, wrong in each secret field, malformed', async () => {
    for (const connection of everything) {
      const { body, definition } = connection;
      const got = (await ask('GET', pathOf(connection))).body.resultList[0];
      const kept = await ask('PUT', `${pathOf(connection)}?async=true`, { ...got, labels: { a: 'b' } });
      assert.equal(kept.status, 200, `${connection.name}: ${kept.text}`);
      await ask('GET', `${pathOf(connection)}revisions/`);
      let refusedMoves = 0;
      for (const [name, schema] of Object.entries(allFields(definition))) {
        if (schema['x-destination'] === undefined) continue;
        for (const other of [false, true]) {
          const moved = { ...got, [name]: sampleValue(definition, name, other) };
          const where = `${pathOf(connection)}validate/`;
          if ((await ask('POST', where, moved)).text.includes('must be given again')) refusedMoves += 1;
        }
      }
      if (connection.canaries.some(({ place }) => !place.includes('.')))
        assert.ok(refusedMoves > 0, `${connection.name} was never refused for a kept secret`);
      for (const [name, schema] of Object.entries(definition.fields)) {
        const value = body[name];
        const marks = schema as unknown as Record<string, unknown>;
        if (marks['x-secret'] === undefined || typeof value !== 'string') continue;
        for (const wrong of [
          [value],
          { value },
          `${value}\u0000`,
          `${value}\n${value}`,
          value.repeat(3000),
          `!${value}`,
        ])
          await ask('POST', `${pathOf(connection)}validate/`, { ...body, [name]: wrong });
      }
      await ask('PUT', pathOf(connection), { ...body, enabled: 'yes', nothing: 1, type: 'kafka' });
      await ask('POST', pathOf(connection), { ...body, environments: ['nowhere'] });
      const malformed = await ask('PUT', pathOf(connection), `${JSON.stringify(body).slice(0, -1)},}`);
      assert.equal(malformed.status, 400);
    }
  });

  test('tested, deployed and used: against a closed port, and a target that repeats what it hears', async () => {
    for (const port of [closedPort, target.port]) {
      dialledPort = port;
      for (const connection of everything) {
        await ask('POST', `${pathOf(connection)}test/?timeoutMs=3000`);
        if (!live.includes(connection)) continue;
        await ask('POST', '/apiops/projects/MyProject/connection-test/?timeoutMs=3000', connection.body);
        await ask('POST', `${pathOf(connection)}deploy/?prove=true&deployTimeoutMs=3000`);
        for (const [operation, input] of [
          ['send', { to: ['a@b.example'], subject: 's', text: 't' }],
          ['call', { body: 'x' }],
          ['query', { sql: 'select 1' }],
        ] as const)
          await ask('POST', `${pathOf(connection)}operations/${operation}/?timeoutMs=3000`, input);
        for (const part of ['deployments', 'health']) await ask('GET', `${pathOf(connection)}${part}/`);
      }
    }
    const heard = canarySearch(live.flatMap((connection) => connection.canaries))(target.heard());
    for (const word of ['password', 'headerList'])
      assert.ok(
        heard.some((found) => found.startsWith(word)),
        `the target was told ${word}`,
      );
  });

  test('restored, undeployed, deleted', async () => {
    for (const connection of everything) {
      await ask('POST', `${pathOf(connection)}revisions/1/restore/?async=true`);
      await ask('POST', `${pathOf(connection)}undeploy/?async=true`);
      assert.equal((await ask('DELETE', `${pathOf(connection)}?async=true`)).status, 200);
      await ask('GET', `${pathOf(connection)}revisions/`);
    }
  });

  test('no answer, event, log line or file holds one of them', async () => {
    for (const path of [
      '/apiops/audit/?size=10000',
      '/metrics',
      '/apiops/openapi.json',
      '/apiops/connection-types/',
      '/docs/',
      '/readyz',
      '/apiops/environments/production/workers/',
    ])
      assert.equal((await ask('GET', path, undefined, plugboard.token)).status, 200, path);
    assert.ok(answers.length > 500, `${answers.length} answers`);
    const inAnswers = answers.flatMap(({ where, text }) => search(text).map((found) => `${where}: ${found}`));
    assert.deepEqual([...new Set(inAnswers)].slice(0, 10), []);
    assert.ok(events.includes('live mail'), 'there were events');
    assert.deepEqual(search(events), []);
    assert.ok(plugboard.log.length > 0);
    assert.deepEqual(search(plugboard.log.join('')).slice(0, 5), []);

    const planted = newCanary('planted');
    await writeFile(join(plugboard.directory, 'planted'), `x${planted.value}`);
    const controls = await searchFiles(plugboard.directory, [planted, openText]);
    assert.ok(controls.found.some((one) => one.includes('planted holds')));
    assert.ok(
      controls.found.some((one) => /plugboard\.db/.test(one)),
      'what is no secret is found in the database, so its pages are searched',
    );
    const { files, found } = await searchFiles(plugboard.directory, canaries);
    assert.ok(files.length >= 3, files.join());
    assert.deepEqual(found.slice(0, 5), []);
  });
});

describe('canary secrets of a process (security 3, 4)', () => {
  let site: Site;
  const connection = withCanaries(
    definitions.email as unknown as ConnectionType,
    { type: 'email', host: '127.0.0.1', port: 9, auth: true, username: 'me', password: 'x-secret' },
    'mail',
  );
  const found = canarySearch(connection.canaries);

  before(async () => {
    site = await newSite();
  });
  after(() => site.remove());

  test('arguments, log and files hold neither secrets nor tokens', async () => {
    const running = await startProcess('start', { ...site.env, PLUGBOARD_LOG_LEVEL: 'trace' });
    const path = '/apiops/projects/default/connections/mail/';
    assert.equal((await callUrl(running.url, site.token, 'POST', path, connection.body)).status, 200);
    assert.equal((await callUrl(running.url, site.token, 'POST', `${path}test/`)).status, 200);
    const revealed = await callUrl(running.url, site.token, 'GET', path);
    assert.equal(found(revealed.text).length, 1, 'the positive control');
    const shown = await readFile(`/proc/${running.child.pid}/cmdline`, 'utf8');
    assert.match(shown, /main\.ts/);
    const ending = await running.end();
    assert.equal(ending.code, 0, ending.output);
    for (const text of [shown, ending.output]) {
      assert.deepEqual(found(text), []);
      assert.ok(!text.includes(site.token));
    }
    const inFiles = await searchFiles(site.directory, [
      ...connection.canaries,
      { place: 'admin token', core: site.token, value: site.token },
    ]);
    assert.ok(inFiles.files.includes('plugboard.db'));
    assert.deepEqual(inFiles.found, []);
  });

  test('a copy of the data directory without the key does not start, and says why', async () => {
    const copy = join(site.directory, 'copy');
    await cp(join(site.directory, 'data'), copy, { recursive: true });
    const ending = await runToEnd('start', {
      ...site.env,
      PLUGBOARD_DATA_DIR: copy,
      PLUGBOARD_SECRETS_DIR: join(site.directory, 'other-secrets'),
    });
    assert.notEqual(ending.code, 0);
    assert.match(ending.output, /^plugboard: .*master key.*$/im);
    assert.doesNotMatch(ending.output, /\n\s+at /, 'a sentence, no stack');
  });

  test('a wrong master key stops the start with a sentence; the right one still starts', async () => {
    const wrong = Buffer.alloc(32, 7).toString('base64');
    const ending = await runToEnd('start', { ...site.env, PLUGBOARD_MASTER_KEY: wrong });
    assert.notEqual(ending.code, 0);
    assert.match(ending.output, /^plugboard: .*master key.*$/im);
    assert.doesNotMatch(ending.output, /\n\s+at /);
    assert.ok(!ending.output.includes(wrong));

    await rm(join(site.directory, 'copy'), { recursive: true, force: true });
    const running = await startProcess('start', site.env);
    const got = await callUrl(running.url, site.token, 'GET', '/apiops/projects/default/connections/mail/');
    assert.equal(found(got.text).length, 1);
    await running.end();
  });
});
