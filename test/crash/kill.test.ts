import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  callUrl,
  newSite,
  type PlugboardProcess,
  type Site,
  startProcess,
} from '../harness/plugboard-process.ts';

const rounds = 8;
const writers = 6;
const base = '/apiops/projects/default/connections';

/** Of one name: what was answered, and what may or may not have been stored when the process died. */
interface Expectation {
  /** Its port; `gone` when it was deleted or never made. */
  answered: number | 'gone';
  pending?: number | 'gone';
}

let site: Site;
let answered = 0;
const expected = new Map<string, Expectation>();

before(async () => {
  site = await newSite();
});
after(() => site.remove());

/** Creates, updates and deletes names of its own until the process is gone. */
async function writeUntilDead(url: string, writer: string): Promise<void> {
  for (let count = 0; ; count++) {
    const name = `${writer}-${count}`;
    const path = `${base}/${name}/${count % 2 === 0 ? '?async=true' : ''}`;
    const steps: [method: string, port: number | 'gone'][] = [
      ['POST', 1],
      ['PUT', 2],
      ['PUT', 3],
      ...(count % 3 === 0 ? ([['DELETE', 'gone']] as [string, 'gone'][]) : []),
    ];
    const expectation: Expectation = { answered: 'gone' };
    expected.set(name, expectation);
    for (const [method, port] of steps) {
      expectation.pending = port;
      const body =
        port === 'gone'
          ? undefined
          : {
              type: 'email',
              name,
              host: '127.0.0.1',
              port,
              auth: true,
              username: 'u',
              password: `secret-${name}-${port}`,
            };
      let status: number;
      try {
        ({ status } = await callUrl(url, site.token, method, path, body));
      } catch {
        return;
      }
      assert.equal(status, 200);
      expectation.answered = port;
      delete expectation.pending;
      answered += 1;
    }
  }
}

test('security 23: after SIGKILL at any instant every answered write is there whole, and none in part', async () => {
  for (let round = 0; round < rounds; round++) {
    const earlier = answered;
    const running = await startProcess('start', site.env);
    const writing = Array.from({ length: writers }, (_, writer) =>
      writeUntilDead(running.url, `r${round}w${writer}`),
    );
    // A slow machine takes longer than that for the first one alone.
    for (const deadline = Date.now() + 30_000; answered === earlier && Date.now() < deadline; )
      await sleep(5);
    await sleep(Math.random() * 500);
    running.child.kill('SIGKILL');
    const ending = await running.ended;
    assert.equal(ending.signal, 'SIGKILL', ending.output);
    await Promise.all(writing);
    agreesWithItself();
  }
  assert.ok(answered > rounds * writers, `${answered} writes were answered`);

  const running = await startProcess('start', site.env);
  const { body } = await callUrl(running.url, site.token, 'GET', `${base}/?type=email`);
  const ports = new Map(
    (body.resultList as { name: string; port: number }[]).map(({ name, port }) => [name, port]),
  );
  for (const [name, { answered: last, pending }] of expected) {
    const found = ports.get(name) ?? 'gone';
    assert.ok(
      found === last || found === pending,
      `${name} is ${found}, answered ${last}, in flight ${pending}`,
    );
  }
  assert.ok([...ports.keys()].every((name) => expected.has(name)));
  for (const [name, port] of [...ports].slice(-30)) {
    const [got] = (await callUrl(running.url, site.token, 'GET', `${base}/${name}/`)).body.resultList;
    assert.equal(got.password, `secret-${name}-${port}`, 'its secret is the one of that very write');
  }
  await converges(running, [...ports.keys()]);
  const ending = await running.end();
  assert.equal(ending.code, 0, ending.output);
});

/** Row, revisions, audit and sequence of each connection tell one story. */
function agreesWithItself(): void {
  const db = new DatabaseSync(join(site.directory, 'data', 'plugboard.db'));
  try {
    assert.equal(db.prepare('pragma integrity_check').get()!['integrity_check'], 'ok');
    const counter = Number(db.prepare('select value from change_counter').get()!['value']);
    const connections = db
      .prepare('select id, name, revision, seq, masked, sealed, deleted_at from connections')
      .all();
    const revisionsOf = db.prepare(
      'select revision, masked, sealed from revisions where connection_id = ? order by revision',
    );
    const audited = new Map<string, Record<string, number>>();
    for (const { action, details } of db
      .prepare("select action, details from audit where action like 'connection.%'")
      .all()) {
      const { connection } = JSON.parse(String(details)) as { connection?: string };
      if (!connection) continue;
      const counts = audited.get(connection) ?? {};
      counts[String(action)] = (counts[String(action)] ?? 0) + 1;
      audited.set(connection, counts);
    }
    const sequence = new Set<number>();
    for (const row of connections) {
      const revisions = revisionsOf.all(row['id']!);
      assert.deepEqual(
        revisions.map(({ revision }) => revision),
        Array.from({ length: Number(row['revision']) }, (_, index) => index + 1),
        `revisions of ${row['name']}`,
      );
      const newest = revisions.at(-1)!;
      assert.deepEqual([newest['masked'], newest['sealed']], [row['masked'], row['sealed']]);
      assert.deepEqual(
        audited.get(String(row['id'])),
        {
          'connection.create': 1,
          ...(Number(row['revision']) > 1 ? { 'connection.update': Number(row['revision']) - 1 } : {}),
          ...(row['deleted_at'] === null ? {} : { 'connection.delete': 1 }),
        },
        `audit of ${row['name']}`,
      );
      audited.delete(String(row['id']));
      const seq = Number(row['seq']);
      assert.ok(seq > 0 && seq <= counter && !sequence.has(seq), `sequence of ${row['name']}`);
      sequence.add(seq);
    }
    assert.equal(audited.size, 0, 'nothing was audited that is not there');
  } finally {
    db.close();
  }
}

/** The worker holds the very revision of each connection. */
async function converges(running: PlugboardProcess, names: string[]): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (const name of names)
    for (;;) {
      const { body } = await callUrl(running.url, site.token, 'GET', `${base}/${name}/deployments/`);
      const worker = body.resultList[0]?.workers[0];
      if (worker?.revision === body.revision && ['valid', 'connected', 'unreachable'].includes(worker.step))
        break;
      assert.ok(Date.now() < deadline, `${name}: ${JSON.stringify(body)}`);
      await sleep(50);
    }
}
