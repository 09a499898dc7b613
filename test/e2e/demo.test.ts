import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type Connection, PlugboardError } from '../../client/plugboard.ts';
import { brokenOnPurpose } from '../../demo/target.ts';
import { type Demo, startDemo } from '../harness/demo-process.ts';
import { startPlugboard } from '../harness/plugboard.ts';
import { callUrl } from '../harness/plugboard-process.ts';
import { descendants } from '../services/processes.ts';

const root = dirname(dirname(import.meta.dirname));

interface DemoAnswer {
  success: true;
  resultList: Connection[];
  resultCount: number;
  pages: { title: string; url: string }[];
}

async function waitFor<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Local addresses of the listening TCP sockets, and of all UDP sockets, of processes; in the hexadecimal of /proc. */
async function listeners(pids: number[]): Promise<string[]> {
  const own = new Set<string>();
  for (const pid of pids)
    for (const fd of await readdir(`/proc/${pid}/fd`))
      own.add(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''));
  const tables = ['tcp', 'tcp6', 'udp', 'udp6'].map(async (table) => {
    const rows = (await readFile(`/proc/net/${table}`, 'utf8')).trim().split('\n').slice(1);
    return rows
      .map((row) => row.trim().split(/\s+/))
      .filter(
        ([, , , state, , , , , , inode]) =>
          own.has(`socket:[${inode}]`) && (state === '0A' || table.startsWith('udp')),
      )
      .map(([, local]) => local!);
  });
  return (await Promise.all(tables)).flat();
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

suite('the demo', {
  skip: process.platform === 'linux' ? false : 'its processes are watched by /proc',
}, () => {
  let demo: Demo;
  let answer: DemoAnswer;
  const call = <Result>(name: string, operation: string, input: unknown) =>
    demo.plugboard.call<Result>('demo', name, operation, input);
  const page = async (title: string) => {
    const { url } = answer.pages.find((each) => each.title === title)!;
    return (await fetch(url)).text();
  };

  before(async () => {
    demo = await startDemo();
    answer = await demo.plugboard.request<DemoAnswer>('GET', '/apiops/demo/');
  });
  after(async () => {
    demo?.child.kill('SIGKILL');
    await demo?.ended;
  });

  test('says what became of each connection, and all work but the broken one', () => {
    assert.equal(answer.resultCount, answer.resultList.length);
    assert.deepEqual([...new Set(answer.resultList.map(({ type }) => type))].sort(), [
      'database',
      'email',
      'ftp',
      'graylog',
      'ldap',
      'linux-script',
      'syslog',
      'webhook',
    ]);
    for (const { name } of answer.resultList)
      assert.match(
        demo.output(),
        name === brokenOnPurpose
          ? new RegExp(`^✗ ${name} +ldap .*invalid credentials`, 'm')
          : new RegExp(`^✓ ${name} .*works$`, 'm'),
      );
    for (const { url } of answer.pages) assert.ok(demo.output().includes(url));
    for (const { password } of answer.resultList)
      if (password !== undefined)
        assert.ok(!demo.output().includes(String(password)), 'a password is printed');
  });

  test('the staged test passes for all but the broken one, which fails where it should', async () => {
    for (const { name } of answer.resultList) {
      const { success, results } = await demo.plugboard.testConnection('demo', name);
      assert.equal(success, name !== brokenOnPurpose, `${name}: ${JSON.stringify(results)}`);
      const failed = results[0]!.stages.filter(({ status }) => status === 'failed');
      assert.deepEqual(
        failed.map(({ stage, code }) => [stage, code]),
        name === brokenOnPurpose ? [['authenticate', 'authentication_failed']] : [],
      );
    }
  });

  test('mail arrives at the inbox, as text that is no markup', async () => {
    const sent = await call<{ accepted: string[] }>('order-mail', 'send', {
      to: ['ada@demo.example'],
      subject: 'Order 1001 <b>',
      text: 'It is <script>on its way</script>.',
    });
    assert.deepEqual(sent.accepted, ['ada@demo.example']);
    const inbox = await page('Inbox');
    assert.match(inbox, /ada@demo\.example/);
    assert.match(inbox, /Order 1001 &#60;b&#62;/);
    assert.doesNotMatch(inbox, /<script>/);
  });

  test('the webhook is echoed and shown', async () => {
    const { status, body } = await call<{ status: number; body: string }>('order-hook', 'call', {
      body: { order: 1002 },
      query: { from: 'shop' },
    });
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(JSON.parse(body).body), { order: 1002 });
    assert.match(await page('HTTP requests'), /\/hooks\/orders\?from=shop/);
  });

  test('log lines arrive by syslog and by GELF', async () => {
    await call('audit-log', 'log', { message: 'ada logged in', severity: 'WARNING' });
    await call('application-log', 'log', { message: 'stock is low', level: 'ERROR', fields: { article: 7 } });
    await waitFor('the syslog line', async () => /WARNING[\s\S]*ada logged in/.test(await page('Logs')));
    await waitFor('the GELF message', async () =>
      /ERROR[\s\S]*stock is low[\s\S]*_article/.test(await page('Logs')),
    );
  });

  test('a file goes up by SFTP, is seen by a script, and comes down again', async () => {
    const content = 'x'.repeat(100_000);
    await call('invoice-files', 'upload', {
      path: 'new/1002.txt',
      content,
      encoding: 'utf8',
      makeDirectories: true,
    });
    await call('invoice-files', 'upload', { path: 'new/1002.txt', content, encoding: 'utf8' });
    const { entries } = await call<{ entries: { name: string; size: number }[] }>('invoice-files', 'list', {
      path: 'new',
    });
    assert.deepEqual(
      entries.map(({ name, size }) => [name, size]),
      [['1002.txt', 100_000]],
    );
    const run = await call<{ exitCode: number; stdout: string }>('maintenance', 'run', {
      script: 'ls new; env | grep -c PLUGBOARD_; exit 3',
    });
    assert.deepEqual([run.exitCode, run.stdout], [3, '1002.txt\n0\n']);
    const down = await call<{ content: string }>('invoice-files', 'download', {
      path: 'new/1002.txt',
      encoding: 'utf8',
    });
    assert.ok(down.content === content);
    await call('invoice-files', 'rename', { from: 'new/1002.txt', to: 'invoices/1002.txt' });
    await call('invoice-files', 'delete', { path: 'new', directory: true });
    await assert.rejects(call('invoice-files', 'download', { path: 'new/1002.txt' }), /no such file/);
  });

  test('the directory finds and authenticates people, and nobody by a wrong password', async () => {
    const found = await call<{ entries: { dn: string; attributes: Record<string, string[]> }[] }>(
      'staff-directory',
      'search',
      {
        filter: '(&(objectClass=inetOrgPerson)(|(uid=ad*)(mail=*hop*)(sn=Turing))(!(cn=alan turing)))',
        attributes: ['sn'],
      },
    );
    assert.deepEqual(
      found.entries.map(({ dn }) => dn),
      ['uid=ada,ou=people,dc=demo,dc=example'],
    );
    assert.deepEqual(found.entries[0]!.attributes, { sn: ['Lovelace'] });
    const authenticate = (username: string, password: string) =>
      call<{ authenticated: boolean }>('staff-directory', 'authenticate', { username, password });
    assert.equal((await authenticate('grace', 'demo-password')).authenticated, true);
    assert.equal((await authenticate('grace', 'demo-passwore')).authenticated, false);
    assert.equal((await authenticate('nobody', 'demo-password')).authenticated, false);
  });

  test('the database serves several clients of the pool at a time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        call<{ rows: unknown[][] }>('orders-database', 'query', {
          sql: at % 2 ? 'select name from customers where id = $1' : 'select $1::integer * 2',
          parameters: [at % 2 ? 2 : at],
        }),
      ),
    );
    for (const [at, { rows }] of answers.entries())
      assert.deepEqual(rows, [[at % 2 ? 'Grace Hopper' : at * 2]]);
    const wrong = Array.from({ length: 5 }, () =>
      call('orders-database', 'query', { sql: 'select * from nowhere' }),
    );
    await Promise.all(wrong.map((each) => assert.rejects(each, /nowhere/)));
    await assert.rejects(call('orders-database', 'execute', { sql: 'begin' }), /transaction/);
    const { affectedRows } = await call<{ affectedRows: number }>('orders-database', 'execute', {
      sql: "insert into orders values (1004, $1, 'Jack', 3.20)",
      parameters: [1],
    });
    assert.equal(affectedRows, 1);
    const { rows } = await call<{ rows: unknown[][] }>('orders-database', 'query', {
      sql: 'select count(*)::integer from generate_series(1, 1000) union all select count(*)::integer from orders',
    });
    assert.deepEqual(rows, [[1000], [4]]);
  });

  test('a wrong password is refused by every target that takes one', async () => {
    for (const connection of answer.resultList.filter(({ password }) => password !== undefined)) {
      const { success, results } = await demo.plugboard.request<{
        success: boolean;
        results: { stages: { stage: string; status: string }[] }[];
      }>('POST', '/apiops/projects/demo/connection-test/', {
        body: { ...connection, name: 'never-stored', password: 'wrong-password' },
      });
      assert.equal(success, false, connection.name);
      const { stage } = results[0]!.stages.find(({ status }) => status === 'failed')!;
      assert.equal(stage, 'authenticate', connection.name);
    }
  });

  test('the seam wants a token; the pages want their own name', async () => {
    assert.equal((await callUrl(demo.url, null, 'GET', '/apiops/demo/')).status, 401);
    for (const { url } of answer.pages) {
      const { hostname, port, pathname } = new URL(url);
      assert.equal(hostname, '127.0.0.1');
      const status = await new Promise<string>((resolve, reject) => {
        const socket = createConnection({ host: hostname, port: Number(port) }, () =>
          socket.write(`GET ${pathname} HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n`),
        );
        socket.once('data', (chunk) => resolve(chunk.toString().split(' ')[1]!)).once('error', reject);
      });
      assert.equal(status, '421');
    }
  });

  test('nothing listens beyond the loopback address; SIGTERM leaves no process and no file', async () => {
    const sleeping = call('maintenance', 'run', { script: 'sleep 600 & echo started; sleep 600' }).catch(
      (error: unknown) => error,
    );
    const pids = await waitFor('the running script', async () => {
      const all = [demo.child.pid!, ...(await descendants(demo.child.pid!))];
      const lines = await Promise.all(
        all.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
      );
      return lines.filter((line) => line.startsWith('sleep')).length >= 2 && all;
    });
    const addresses = await listeners(pids);
    assert.ok(addresses.length >= 9, `only ${addresses.length} sockets were found`);
    // 127.0.0.1 in the byte order of the machine.
    for (const address of addresses) assert.match(address, /^0100007F:/);

    // Two at once, as Ctrl-C arrives below npm: from the terminal, and passed on.
    demo.child.kill('SIGINT');
    demo.child.kill('SIGTERM');
    assert.deepEqual(await demo.ended, [0, null]);
    assert.ok((await sleeping) instanceof PlugboardError);
    await waitFor('the end of every process', async () => !pids.some(isAlive));
    assert.ok(!existsSync(dirname(dirname(demo.tokenFile))), 'the directory of the demo is still there');
    assert.ok(!existsSync(join(root, 'not-for-the-demo')), 'the demo used a directory of somebody else');
  });
});

test('--empty leaves the connections to the console, which creates what the seam names', async () => {
  const demo = await startDemo('--empty');
  try {
    assert.deepEqual((await demo.plugboard.listConnections('demo', { type: '*' })).resultList, []);
    const { resultList } = await demo.plugboard.request<DemoAnswer>('GET', '/apiops/demo/');
    await demo.plugboard.createProject({ name: 'Elsewhere' });
    for (const connection of resultList) await demo.plugboard.createConnection('Elsewhere', connection);
    const { results } = await demo.plugboard.testConnection('Elsewhere', 'order-mail');
    assert.equal(results[0]!.success, true);
  } finally {
    // Whatever ends the demo, the targets end with it.
    const pids = await descendants(demo.child.pid!);
    demo.child.kill('SIGKILL');
    await demo.ended;
    await waitFor('the end of the targets', async () => !pids.some(isAlive));
    assert.ok(!existsSync(dirname(dirname(demo.tokenFile))), 'the directory of the demo is still there');
  }
});

test('a server that no demo started has no such path', async () => {
  const plugboard = await startPlugboard({ withWorker: false });
  try {
    assert.equal((await plugboard.call('GET', '/apiops/demo/')).status, 404);
  } finally {
    await plugboard.stop();
  }
});
