import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { connectors } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { parseConnection } from '../../src/contract/validation.ts';
import type { StageResult } from '../../src/contract/worker-protocol.ts';
import { type Certificate, createAuthority } from '../services/certificates.ts';
import { createContext, testConnection, trustIn } from './connector-context.ts';

const host = '127.0.0.1';
const authority = createAuthority();
const stranger = createAuthority('Somebody else');
const password = 'Canary-c3rtificates';

/** What a server of the protocol says in clear before TLS begins; resolves when it may begin. */
type Prelude = (socket: Socket) => Promise<void>;

/** Answers each line of the client until it asks for TLS. */
const lines =
  (greeting: string, answer: (line: string) => string, asks: RegExp): Prelude =>
  async (socket) => {
    socket.write(greeting);
    for (;;) {
      const line = String((await once(socket, 'data'))[0]);
      socket.write(answer(line));
      if (asks.test(line)) return;
    }
  };

const preludes = {
  atOnce: async () => {},
  smtp: lines(
    '220 peer\r\n',
    (line) =>
      /^EHLO/i.test(line)
        ? '250-peer\r\n250 STARTTLS\r\n'
        : /^STARTTLS/i.test(line)
          ? '220 go\r\n'
          : '250 ok\r\n',
    /^STARTTLS/i,
  ),
  ftp: lines('220 peer\r\n', (line) => (/^AUTH/i.test(line) ? '234 go\r\n' : '500 no\r\n'), /^AUTH TLS/i),
  async ldap(socket) {
    const [request] = (await once(socket, 'data')) as [Buffer];
    // ExtendedResponse, success, under the id of the request (RFC 4511 4.12).
    socket.write(Buffer.from([0x30, 0x0c, 0x02, 0x01, request[4]!, 0x78, 0x07, 0x0a, 1, 0, 4, 0, 4, 0]));
  },
  async postgres(socket) {
    await once(socket, 'data');
    socket.write('S');
  },
  async mysql(socket) {
    const greeting = Buffer.concat([
      Buffer.from('\x0a8.0.36\0', 'latin1'),
      Buffer.from([1, 0, 0, 0]),
      Buffer.from('abcdefgh\0', 'latin1'),
      // Capabilities with CLIENT_SSL, utf8mb4, autocommit, 21 bytes of challenge.
      Buffer.from([0xff, 0xff, 0x2d, 0x02, 0x00, 0xff, 0xc7, 21]),
      Buffer.alloc(10),
      Buffer.from('abcdefghijkl\0mysql_native_password\0', 'latin1'),
    ]);
    socket.write(Buffer.concat([Buffer.from([greeting.length, 0, 0, 0]), greeting]));
    const [request] = (await once(socket, 'data')) as [Buffer];
    // The handshake may have begun in the same segment as the packet that asks for it.
    socket.pause();
    socket.unshift(request.subarray(4 + request.readUIntLE(0, 3)));
  },
} satisfies Record<string, Prelude>;

interface TlsType {
  type: keyof typeof definitions;
  prelude: Prelude;
  /** The body that leads to the port; `caPem` is what it is to trust, where the body itself says that. */
  body(port: number, caPem: string): Record<string, unknown>;
}

const base64 = (text: string) => Buffer.from(text).toString('base64');
const database = (jdbcUrl: string) => ({
  jdbcUrl,
  useCredentials: true,
  username: 'app',
  password,
  connectionTimeout: 20_000,
});
const activeMq = (activeMqConnectionProtocolType: string, brokerURL: string) => ({
  activeMqConnectionProtocolType,
  brokerURL,
  destinationType: 'QUEUE',
  destinationName: 'orders',
});
const ldap = { username: 'cn=app', password, baseDn: 'dc=test', requireCertificateType: 'REQUIRED_AN_PN' };
const ftp = { host, protocol: 'FTPS', username: 'app', password, workingDir: '/', timeout: 20_000 };

/** Every way in which a type speaks TLS. SQL Server's is inside its own packets and tested beside its dialect. */
const table: Record<string, TlsType> = {
  'email, implicit': {
    type: 'email',
    prelude: preludes.atOnce,
    body: (port) => ({ host, port, useSsl: true }),
  },
  'email, STARTTLS': {
    type: 'email',
    prelude: preludes.smtp,
    body: (port) => ({ host, port, enableStartTls: true }),
  },
  webhook: {
    type: 'webhook',
    prelude: preludes.atOnce,
    body: (port) => ({ fullUrl: `https://${host}:${port}/`, httpMethod: 'POST' }),
  },
  'ops-genie': {
    type: 'ops-genie',
    prelude: preludes.atOnce,
    body: (port) => ({
      apiKey: 'c4na2y00-1234-4abc-8def-0psgen1ekey1',
      apiUrl: `https://${host}:${port}`,
      responders: [{ type: 'team', name: 'ops' }],
    }),
  },
  elasticsearch: {
    type: 'elasticsearch',
    prelude: preludes.atOnce,
    body: (port, caPem) => ({
      elasticHostList: [{ scheme: 'https', host, port }],
      elasticsearchType: 'READ_WRITE',
      encryptCommunication: true,
      encryptCommunicationType: 'CA_IN_PEM_FILE',
      caInPemFile: base64(caPem),
    }),
  },
  kafka: {
    type: 'kafka',
    prelude: preludes.atOnce,
    body: (port) => ({
      topicName: 'events',
      bootstrapServers: `${host}:${port}`,
      propertiesMap: {
        'security.protocol': { value: 'SSL', valueType: 'STRING' },
        'request.timeout.ms': { value: '10000', valueType: 'STRING' },
      },
    }),
  },
  'database, PostgreSQL': {
    type: 'database',
    prelude: preludes.postgres,
    body: (port) => database(`jdbc:postgresql://${host}:${port}/app?sslmode=verify-full`),
  },
  'database, MySQL': {
    type: 'database',
    prelude: preludes.mysql,
    body: (port) => database(`jdbc:mysql://${host}:${port}/app?sslMode=VERIFY_IDENTITY`),
  },
  'database, MongoDB': {
    type: 'database',
    prelude: preludes.atOnce,
    body: (port) => database(`mongodb://${host}:${port}/app?tls=true`),
  },
  'database, Trino': {
    type: 'database',
    prelude: preludes.atOnce,
    body: (port) => database(`jdbc:trino://${host}:${port}/memory/default?SSL=true`),
  },
  'ldap, ldaps': {
    type: 'ldap',
    prelude: preludes.atOnce,
    body: (port) => ({
      ...ldap,
      serverAddress: `ldaps://${host}:${port}`,
      useSsl: true,
      certificateName: 'ca',
    }),
  },
  'ldap, StartTLS': {
    type: 'ldap',
    prelude: preludes.ldap,
    body: (port) => ({
      ...ldap,
      serverAddress: `ldap://${host}:${port}`,
      startTls: true,
      certificateName: 'ca',
    }),
  },
  'ftp, implicit': {
    type: 'ftp',
    prelude: preludes.atOnce,
    body: (port) => ({ ...ftp, port, useImplicit: true, useExplicit: false }),
  },
  'ftp, explicit': {
    type: 'ftp',
    prelude: preludes.ftp,
    body: (port) => ({ ...ftp, port, useExplicit: true }),
  },
  rabbitMq: {
    type: 'rabbitMq',
    prelude: preludes.atOnce,
    body: (port) => ({ hostPortList: [{ host, port }], connectionFactoryUseSslProtocol: true }),
  },
  'activeMq, OpenWire': {
    type: 'activeMq',
    prelude: preludes.atOnce,
    body: (port) => activeMq('TCP', `ssl://${host}:${port}`),
  },
  'activeMq, AMQP': {
    type: 'activeMq',
    prelude: preludes.atOnce,
    body: (port) => activeMq('AMQP', `amqps://${host}:${port}`),
  },
  graylog: {
    type: 'graylog',
    prelude: preludes.atOnce,
    body: (port, caPem) => ({
      hostname: host,
      port,
      transportType: 'TCP',
      tlsEnabled: true,
      tlsCertVerificationEnabled: true,
      tlsTrustCertChainFile: base64(caPem),
    }),
  },
  syslog: {
    type: 'syslog',
    prelude: preludes.atOnce,
    body: (port) => ({
      syslogServerHostname: host,
      syslogPort: port,
      syslogProtocolType: 'TCP',
      syslogSslEnabled: true,
      syslogTimeout: 10_000,
    }),
  },
};

interface Peer {
  port: number;
  /** undefined: it hangs up instead of a handshake. */
  certificate: Certificate | undefined;
  close(): Promise<void>;
}

/** Speaks the prelude, then TLS with the certificate of the moment, and ends the connection after the handshake. */
async function startPeer(prelude: Prelude): Promise<Peer> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    prelude(socket).then(
      () => {
        if (!peer.certificate) return socket.destroy();
        const { certPem: cert, keyPem: key } = peer.certificate;
        const secured = new TLSSocket(socket, { isServer: true, cert, key });
        secured.on('error', () => socket.destroy());
        // By then the client has verified it (RFC 8446 4.4.4).
        secured.once('secure', () => secured.end());
      },
      () => socket.destroy(),
    );
  });
  server.listen(0, host);
  await once(server, 'listening');
  const peer: Peer = {
    port: (server.address() as { port: number }).port,
    certificate: good,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return peer;
}

const good = authority.issue({ commonName: 'peer.test', ips: [host] });

const cases: { title: string; certificate: Certificate; caPem?: string; code: string; shown: RegExp }[] = [
  {
    title: 'an expired certificate',
    certificate: authority.issue({ commonName: 'peer.test', ips: [host], expired: true }),
    code: 'certificate_expired',
    shown: /subject peer\.test, issuer Plugboard Test CA, valid until \d{4}-\d\d-\d\d, EXPIRED/,
  },
  {
    title: 'a certificate for another name',
    certificate: authority.issue({ commonName: 'other.test', names: ['other.test'], ips: ['192.0.2.1'] }),
    code: 'certificate_wrong_host',
    shown: /subject other\.test, issuer Plugboard Test CA, valid until/,
  },
  {
    title: 'a certificate of another authority',
    certificate: good,
    caPem: stranger.caPem,
    code: 'certificate_untrusted',
    shown: /subject peer\.test, issuer Plugboard Test CA, valid until/,
  },
];

describe('certificates that must not be taken', { timeout: 300_000 }, () => {
  for (const [title, { type, prelude, body }] of Object.entries(table))
    describe(title, () => {
      let peer: Peer;
      before(async () => {
        peer = await startPeer(prelude);
      });
      after(() => peer.close());

      async function stagesOf(caPem = authority.caPem): Promise<Record<string, StageResult>> {
        const definition = definitions[type] as unknown as ConnectionType;
        const parsed = parseConnection(definition, { type, name: 'subject', ...body(peer.port, caPem) });
        assert.ok(parsed.ok, JSON.stringify(parsed));
        const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trustIn(caPem) });
        const connector = await connectors[type]!();
        const { stages } = await testConnection(connector, parsed.config as never, ctx);
        assert.ok(!JSON.stringify(stages).includes(password));
        return Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
      }

      test('a good one is taken, so that it is the certificate which fails the others', async () => {
        peer.certificate = good;
        const stages = await stagesOf();
        const { tls } = stages;
        const failed = Object.values(stages).filter(({ status }) => status === 'failed');
        // Of some the stage goes on to what is said first within TLS.
        if (tls?.status === 'passed')
          assert.match(
            tls.detail ?? '',
            /subject peer\.test, issuer Plugboard Test CA, valid until \d{4}-\d\d-\d\d/,
            'tells whom it met',
          );
        // It speaks no more than TLS, so something fails after that.
        assert.doesNotMatch(failed[0]?.code ?? '', /^certificate_|^tls_|timeout$/, JSON.stringify(failed));
        assert.equal(failed.length, 1);
      });

      test('a handshake that is cut off may pass later, and is said to be no certificate', async () => {
        peer.certificate = undefined;
        const { tls, authenticate, operate } = await stagesOf();
        assert.deepEqual(
          [tls?.status, tls?.code, tls?.retryable],
          ['failed', 'connection_lost', true],
          JSON.stringify(tls),
        );
        assert.match(tls?.hint ?? '', /TLS/, 'says what to do');
        assert.deepEqual([authenticate?.status, operate?.status], ['skipped', 'skipped']);
      });

      for (const { title: what, certificate, caPem, code, shown } of cases)
        test(`${what} is refused in its stage`, async () => {
          peer.certificate = certificate;
          const { tls, authenticate, operate } = await stagesOf(caPem);
          assert.deepEqual(
            [tls?.status, tls?.code, tls?.retryable],
            ['failed', code, false],
            JSON.stringify(tls),
          );
          assert.ok(tls?.hint, 'says what to do');
          assert.match(tls?.detail ?? '', shown, 'tells whose certificate it was');
          assert.deepEqual([authenticate?.status, operate?.status], ['skipped', 'skipped']);
        });
    });
});
