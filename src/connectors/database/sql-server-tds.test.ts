import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { type ConnectorSubject, connectorContract } from '../../../test/contract/connector-contract.ts';
import { databaseConfig } from '../../../test/contract/database-subject.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { AppError } from '../../errors.ts';
import { databaseConnector } from './database.connector.ts';
import type { database } from './database.definition.ts';
import type { DatabaseConfig } from './database-client.ts';

const password = 'Canary-SqlServer-p4ss+word';
const badPassword = 'Canary-wr0ng-p4ss+word';

function configAt(port: number, rest: Partial<DatabaseConfig> = {}, databaseName = 'orders'): DatabaseConfig {
  return databaseConfig({
    jdbcUrl: `jdbc:sqlserver://127.0.0.1:${port};databaseName=${databaseName};encrypt=false`,
    username: 'sa',
    password,
    connectionTimeout: 10_000,
    testConnectionOnCheckout: false,
    ...rest,
  });
}

/** Packet types of TDS, as on the wire. */
const SQL_BATCH = 1;
const RPC = 3;
const TABULAR_RESULT = 4;
const ATTENTION = 6;
const LOGIN = 16;
const PRELOGIN = 18;
const END_OF_MESSAGE = 1;

const wide = (text: string) => Buffer.from(text, 'utf16le');
const byteText = (text: string) => Buffer.concat([Buffer.of(text.length), wide(text)]);
const shortText = (text: string) => Buffer.concat([u16(text.length), wide(text)]);
const u16 = (value: number) => Buffer.of(value & 0xff, value >> 8);
const u32 = (value: number) => Buffer.concat([u16(value & 0xffff), u16(value >>> 16)]);
const token = (type: number, body: Buffer) => Buffer.concat([Buffer.of(type), u16(body.length), body]);

const errorToken = (number: number, severity: number, text: string) =>
  token(
    0xaa,
    Buffer.concat([
      u32(number),
      Buffer.of(1, severity),
      shortText(text),
      byteText('peer'),
      byteText(''),
      u32(1),
    ]),
  );
const done = (type: number, status: number, rows = 0) =>
  Buffer.concat([Buffer.of(type), u16(status), u16(0), u32(rows), u32(0)]);
const DONE = 0xfd;
const DONE_PROC = 0xfe;
const DONE_IN_PROC = 0xff;
const HAS_ERROR = 2;
const HAS_COUNT = 16;
const IS_ATTENTION = 32;

const loginAccepted = Buffer.concat([
  token(0xad, Buffer.concat([Buffer.from('0174000004', 'hex'), byteText('SQL'), Buffer.of(16, 0, 0, 0)])),
  done(DONE, 0),
]);
const refused = (number: number, severity: number, text: string) =>
  Buffer.concat([errorToken(number, severity, text), done(DONE, HAS_ERROR)]);

/** One row of an int and an nvarchar. */
function oneRow(number: number, text: string): Buffer {
  const column = (type: Buffer, name: string) => Buffer.concat([u32(0), u16(9), type, byteText(name)]);
  return Buffer.concat([
    Buffer.of(0x81),
    u16(2),
    column(Buffer.of(0x26, 4), 'n'),
    column(Buffer.concat([Buffer.of(0xe7), u16(8000), Buffer.from('0904d00034', 'hex')]), 'said'),
    Buffer.concat([Buffer.of(0xd1, 4), u32(number), u16(2 * text.length), wide(text)]),
    done(DONE_IN_PROC, HAS_COUNT, 1),
    Buffer.concat([Buffer.of(0x79), u32(0)]),
    done(DONE_PROC, 0),
  ]);
}

/** ENVCHANGE: the log-in is to be repeated at another server. */
const routed = ({ host, port }: { host: string; port: number }) => {
  const target = Buffer.concat([Buffer.of(0), u16(port), shortText(host)]);
  return token(0xe3, Buffer.concat([Buffer.of(20), u16(target.length), target, u16(0)]));
};

const begun = token(0xe3, Buffer.concat([Buffer.of(8, 8), Buffer.alloc(8, 7), Buffer.of(0)]));

/** The password of a LOGIN7, whose bytes are sent with their halves changed and every other bit turned. */
function passwordIn(login: Buffer): string {
  const at = login.readUInt16LE(44);
  const bytes = login.subarray(at, at + 2 * login.readUInt16LE(46));
  return Buffer.from(bytes.map((byte) => swapped(byte ^ 0xa5))).toString('utf16le');
}
const swapped = (byte: number) => ((byte << 4) | (byte >> 4)) & 0xff;

/** A server that speaks TDS 7.4 as far as the tests go: log-ins, statements, attentions. */
async function startTds(t: TestContext, leadsTo?: { host: string; port: number }) {
  const sockets = new Set<Socket>();
  const statements: string[] = [];
  const applications: string[] = [];
  let attentions = 0;
  const answer = (type: number, message: Buffer): Buffer | undefined => {
    switch (type) {
      case PRELOGIN:
        return Buffer.from('0100060001ff02', 'hex');
      case LOGIN: {
        const textAt = (at: number) => {
          const from = message.readUInt16LE(at);
          return message.toString('utf16le', from, from + 2 * message.readUInt16LE(at + 2));
        };
        applications.push(textAt(48));
        const name = textAt(68);
        if (name === 'locked')
          return refused(
            18486,
            14,
            "Login failed for user 'sa' because the account is currently locked out.",
          );
        if (passwordIn(message) !== password) return refused(18456, 14, "Login failed for user 'sa'.");
        if (name === 'nowhere')
          return refused(4060, 11, 'Cannot open database "nowhere" requested by the login.');
        if (name === 'elsewhere' && leadsTo) return Buffer.concat([routed(leadsTo), loginAccepted]);
        return loginAccepted;
      }
      case SQL_BATCH:
        return done(DONE, 0);
      case ATTENTION:
        attentions++;
        return done(DONE, IS_ATTENTION);
      case RPC: {
        const text = message.toString('utf16le').replaceAll('\0', '');
        statements.push(text);
        if (text.includes('waitfor')) return undefined;
        if (text.includes('nothing'))
          return Buffer.concat([
            errorToken(208, 16, "Invalid object name 'nothing'."),
            done(DONE_PROC, HAS_ERROR),
          ]);
        if (text.includes('update'))
          return Buffer.concat([
            done(DONE_IN_PROC, HAS_COUNT, 3),
            Buffer.of(0x79, 0, 0, 0, 0),
            done(DONE_PROC, 0),
          ]);
        if (text.includes('begin tran')) return Buffer.concat([begun, done(DONE_PROC, 0)]);
        return oneRow(7, 'Zoë 猫');
      }
      default:
        return undefined;
    }
  };
  const serve = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    let got: Buffer = Buffer.alloc(0);
    let message: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      while (got.length >= 8 && got.length >= got.readUInt16BE(2)) {
        const packet = got.subarray(0, got.readUInt16BE(2));
        got = got.subarray(packet.length);
        message.push(packet.subarray(8));
        if ((packet[1]! & END_OF_MESSAGE) === 0) continue;
        const body = answer(packet[0]!, Buffer.concat(message));
        message = [];
        if (!body) continue;
        const head = Buffer.of(TABULAR_RESULT, END_OF_MESSAGE, 0, 0, 0, 0, 1, 0);
        head.writeUInt16BE(8 + body.length, 2);
        socket.write(Buffer.concat([head, body]));
      }
    });
  };
  let server = createServer(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const shutDown = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  t.after(shutDown);
  return {
    port,
    statements,
    applications,
    attentions: () => attentions,
    async restart() {
      await shutDown();
      server = createServer(serve);
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
  };
}

async function open(t: TestContext, config: DatabaseConfig) {
  const live = await databaseConnector.open(config, createContext({ signal: new AbortController().signal }));
  t.after(() => databaseConnector.close(live));
  return live;
}

const call = () => ({ signal: AbortSignal.timeout(30_000) });

test('a peer that speaks TDS is served by the contract', async (t) => {
  const server = await startTds(t);
  const subject: ConnectorSubject<typeof database, Awaited<ReturnType<typeof open>>> = {
    connector: databaseConnector,
    config: () => configAt(server.port),
    configAt: ({ port, timeoutMs, host }) => ({
      ...configAt(port, { connectionTimeout: timeoutMs }),
      jdbcUrl: `jdbc:sqlserver://${host}:${port};databaseName=orders;encrypt=false`,
    }),
    badCredentials: () => configAt(server.port, { password: badPassword }),
    operate: (live, context) =>
      databaseConnector.operations.query(live, { sql: 'select ? as said', parameters: ['hello'] }, context),
    restart: () => server.restart(),
    silentAt: 'authenticate',
    garbledAt: 'authenticate',
    secrets: [password, badPassword],
    tls: false,
  };
  await connectorContract(t, 'TDS', subject);
});

test('the server hears the name of the application', async (t) => {
  const server = await startTds(t);
  for (const parameter of ['', ';applicationName=Gateway', ';appName=Other']) {
    const config = configAt(server.port);
    const live = await open(t, { ...config, jdbcUrl: `${config.jdbcUrl}${parameter}` });
    await databaseConnector.prove(live, call());
  }
  assert.deepEqual([...new Set(server.applications)], ['plugboard', 'Gateway', 'Other']);
});

test('what the log-in is refused for is told', async (t) => {
  const server = await startTds(t);
  const cases: [DatabaseConfig, string, RegExp][] = [
    [configAt(server.port, { password: badPassword }), 'authentication_failed', /18456/],
    [configAt(server.port, {}, 'locked'), 'authentication_failed', /18486/],
    [configAt(server.port, {}, 'nowhere'), 'invalid_configuration', /4060/],
  ];
  const hints: (string | undefined)[] = [];
  for (const [config, code, number] of cases) {
    const live = await open(t, config);
    const failure = await databaseConnector.prove(live, call()).catch((error: unknown) => error);
    assert.ok(failure instanceof AppError);
    assert.equal(failure.code, code);
    assert.match(failure.message, number);
    const ctx = createContext({ signal: new AbortController().signal });
    const { stages } = await testConnection(databaseConnector, config, ctx);
    const failed = stages.find(({ status }) => status === 'failed');
    assert.deepEqual([failed?.stage, failed?.code], ['authenticate', code]);
    hints.push(failed?.hint);
  }
  assert.match(hints[0]!, /password/);
  assert.match(hints[1]!, /locked/);
  assert.match(hints[2]!, /does not exist/);
});

test('a server that sends us on leads nowhere that the egress policy forbids', async (t) => {
  const other = await startPeer(t, (socket) => socket.end());
  const server = await startTds(t, { host: '127.0.0.1', port: other.port });
  const config = configAt(server.port, {}, 'elsewhere');
  const proven = async (deny: string[]) => {
    const ctx = createContext({ signal: new AbortController().signal, egress: { deny } });
    const live = await databaseConnector.open(config, ctx);
    t.after(() => databaseConnector.close(live));
    const failure = await databaseConnector.prove(live, call()).catch((error: unknown) => error);
    assert.ok(failure instanceof AppError);
    return failure.code;
  };
  assert.equal(await proven([`127.0.0.1:${other.port}`]), 'egress_denied');
  assert.equal(other.count(), 0);
  assert.equal(await proven([]), 'connection_lost', 'where it is allowed, it is followed');
  assert.equal(other.count(), 1);
});

test('security 11: statements are bound by sp_executesql, and their answers read', async (t) => {
  const server = await startTds(t);
  const live = await open(t, configAt(server.port));
  const { query, execute } = databaseConnector.operations;
  const parameters = ["'; drop table t; --", 5, true, null];
  const answer = await query(live, { sql: 'select ?, ?, ?, ?', parameters }, call());
  assert.deepEqual(answer, {
    columns: [
      { name: 'n', type: 'int' },
      { name: 'said', type: 'nvarchar' },
    ],
    rows: [[7, 'Zoë 猫']],
    truncated: false,
  });
  const sent = server.statements.at(-1)!;
  assert.ok(sent.includes('select @p1, @p2, @p3, @p4'));
  assert.match(sent, /@p1 nvarchar\(\d+\),\s?@p2 int,\s?@p3 bit/i);
  assert.deepEqual(await execute(live, { sql: 'update t set a = ?', parameters: [1] }, call()), {
    affectedRows: 3,
  });
  const missing = await query(live, { sql: 'select * from nothing' }, call()).catch(
    (error: unknown) => error,
  );
  assert.ok(missing instanceof AppError);
  assert.equal(missing.code, 'request_rejected');
  assert.match(missing.message, /Invalid object name 'nothing'\. \(error 208\)/);
});

test('a statement that takes too long is ended by an attention, and its place is free again', async (t) => {
  const server = await startTds(t);
  const live = await open(t, configAt(server.port, { maxPoolSize: 1 }));
  const { query } = databaseConnector.operations;
  await assert.rejects(query(live, { sql: "waitfor delay '1:00'", timeoutMs: 200 }, call()), {
    code: 'target_timeout',
  });
  const deadline = Date.now() + 20_000;
  while (server.attentions() === 0) {
    assert.ok(Date.now() < deadline, 'the server was not told');
    await sleep(20);
  }
  assert.equal((await query(live, { sql: 'select 1' }, call())).rows.length, 1);
});

test('a transaction that is left open is refused, and not handed on', async (t) => {
  const server = await startTds(t);
  const live = await open(t, configAt(server.port, { maxPoolSize: 1 }));
  const { execute, query } = databaseConnector.operations;
  const failure = await execute(live, { sql: 'begin tran' }, call()).catch((error: unknown) => error);
  assert.ok(failure instanceof AppError);
  assert.match(failure.message, /transaction/);
  assert.equal((await query(live, { sql: 'select 1' }, call())).rows.length, 1);
});
