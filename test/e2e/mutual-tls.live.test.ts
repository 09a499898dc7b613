import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { pipeline } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { type MutualTlsSite, proveMutualTls, startMutualTlsSite } from '../harness/mutual-tls.ts';
import { startMongodb } from '../services/mongodb.ts';
import { startPostgresql } from '../services/postgresql.ts';
import { startProftpd } from '../services/proftpd.ts';
import { startRsyslog } from '../services/rsyslog.ts';
import { startFront, startSearchNode } from '../services/search-node.ts';
import { startOrSkip } from '../services/service.ts';
import { startSlapd } from '../services/slapd.ts';
import { startPostfix } from '../services/smtp.ts';

test('mutual TLS of servers, mail, files and logs', async (t) => {
  const site = await startOrSkip(t, startMutualTlsSite);
  if (!site) return;
  t.after(() => site[Symbol.asyncDispose]());
  for (const [name, prove] of Object.entries(proofs)) await t.test(name, (inner) => prove(inner, site));
});

const proofs: Record<string, (t: TestContext, site: MutualTlsSite) => Promise<void>> = {
  async email(t, site) {
    const server = await startOrSkip(t, () => startPostfix(site.certificate, { clientCaPem: site.caPem }));
    if (!server) return;
    t.after(() => server.stop());
    for (const [name, fields] of [
      ['email-implicit', { port: server.smtpsPort, useSsl: true }],
      ['email-starttls', { port: server.submissionPort, enableStartTls: true }],
    ] as const)
      await proveMutualTls(t, site, name, {
        body: { type: 'email', host: server.host, from: 'app@plugboard.test', ...fields },
        keystore: 'JKS by keytool',
        truststore: 'PKCS12 by keytool',
        operation: 'send',
        input: { to: [server.address], subject: 'mutual', text: 'by certificate' },
        // Postfix completes the handshake, and refuses by a reply.
        refused: { stage: 'tls', codes: ['authentication_failed'] },
      });
  },

  async database(t, site) {
    const user = 'plugboard';
    const password = 'Canary-d4tabase';
    const server = await startOrSkip(t, () =>
      startPostgresql({
        tls: {
          certFile: site.certFile,
          keyFile: site.keyFile,
          clientCaFile: site.caFile,
          certificateUser: user,
        },
        users: [{ user, password }],
      }),
    );
    if (!server) return;
    t.after(() => server.stop());
    await proveMutualTls(t, site, 'database', {
      body: {
        type: 'database',
        jdbcUrl: `jdbc:postgresql://localhost:${server.port}/${server.database}?sslmode=verify-full`,
        username: user,
        password,
      },
      keystore: 'PEM by openssl',
      truststore: 'PKCS12 by openssl',
      operation: 'query',
      input: { sql: 'select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()' },
      // PostgreSQL asks for the certificate, and judges it where it looks at who logs in.
      refused: { stage: 'authenticate', codes: ['authentication_failed'] },
    });
  },

  async syslog(t, site) {
    const server = await startOrSkip(t, () => startRsyslog(site.certificate, site.caPem));
    if (!server) return;
    t.after(() => server.stop());
    await proveMutualTls(t, site, 'syslog', {
      body: {
        type: 'syslog',
        syslogServerHostname: server.host,
        syslogPort: server.mutualPort,
        syslogSslEnabled: true,
        syslogMessageFormat: 'RFC_5425',
        syslogTimeout: 20_000,
      },
      keystore: 'JKS by keytool',
      truststore: 'PEM by openssl',
      operation: 'log',
      input: { message: 'by certificate' },
      refused: { stage: 'tls', codes: ['tls_failed', 'connection_lost'] },
    });
    await server.received(({ input, msg }) => input === 'mutual' && msg.includes('by certificate'));
  },

  async graylog(t, site) {
    const { promise: arrived, resolve } = Promise.withResolvers<string>();
    const peer = createTlsServer(demanding(site), (socket) => {
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) => {
        if (chunk.includes('by certificate')) resolve(socket.getPeerCertificate().subject.CN as string);
      });
    });
    peer.on('tlsClientError', () => {});
    const port = await listen(t, peer);
    await proveMutualTls(t, site, 'graylog', {
      body: {
        type: 'graylog',
        hostname: '127.0.0.1',
        port,
        tlsEnabled: true,
        tlsCertVerificationEnabled: true,
      },
      trust: async (which) => ({
        tlsTrustCertChainFile:
          which === 'root'
            ? Buffer.from(site.caPem).toString('base64')
            : (await site.truststore('PEM by openssl', 'stranger')).file,
      }),
      keystore: 'PKCS12 by keytool',
      truststore: 'PEM by openssl',
      operation: 'log',
      input: { message: 'by certificate' },
      refused: { stage: 'tls', codes: ['tls_failed', 'connection_lost'] },
    });
    assert.equal(await arrived, 'plugboard');
  },

  async ftp(t, site) {
    const server = await startOrSkip(t, () =>
      startProftpd({ certificate: site.certificate, clientCaPem: site.caPem }),
    );
    if (!server) return;
    t.after(() => server.stop());
    for (const [name, fields] of [
      ['ftp-explicit', { port: server.port, useExplicit: true }],
      ['ftp-implicit', { port: server.implicitPort, useImplicit: true }],
    ] as const) {
      await proveMutualTls(t, site, name, {
        body: {
          type: 'ftp',
          protocol: 'FTPS',
          host: '127.0.0.1',
          username: server.user,
          password: server.password,
          retryCount: 0,
          ...fields,
        },
        keystore: 'PKCS12 by openssl',
        truststore: 'PKCS12 by keytool',
        operation: 'upload',
        input: { path: `${name}.txt`, content: Buffer.from('by certificate').toString('base64') },
        // With TLS 1.3 the client is done before the server looks at the certificate.
        refused: { stage: 'useImplicit' in fields ? 'tls' : 'authenticate', codes: ['tls_failed'] },
      });
      assert.equal(await readFile(`${server.home}/${name}.txt`, 'utf8'), 'by certificate');
    }
  },

  async webhook(t, site) {
    const seen: string[] = [];
    const target = createHttpsServer(demanding(site), (request, response) => {
      const { subject } = (request.socket as import('node:tls').TLSSocket).getPeerCertificate();
      seen.push(subject.CN as string);
      response.end('ok');
    });
    target.on('tlsClientError', () => {});
    const port = await listen(t, target);
    await proveMutualTls(t, site, 'webhook', {
      body: {
        type: 'webhook',
        httpMethod: 'POST',
        fullUrl: `https://localhost:${port}/hook`,
        timeout: 20,
      },
      keystore: 'PEM by openssl',
      truststore: 'JKS by keytool',
      operation: 'call',
      input: { body: 'by certificate' },
      refused: { stage: 'operate', codes: ['tls_failed', 'connection_lost'] },
    });
    assert.ok(seen.length > 0 && seen.every((name) => name === 'plugboard'));
  },

  async ldap(t, site) {
    const entries = 'dn: ou=people,dc=example,dc=com\nobjectClass: organizationalUnit\nou: people\n';
    const server = await startOrSkip(t, () =>
      startSlapd({
        certificate: site.certificate,
        entries,
        config: [`TLSCACertificateFile ${site.caFile}`, 'TLSVerifyClient demand'],
      }),
    );
    if (!server) return;
    t.after(() => server.stop());
    for (const [name, fields] of [
      ['ldaps', { serverAddress: `ldaps://localhost:${server.ldapsPort}`, useSsl: true }],
      ['ldap-starttls', { serverAddress: `ldap://localhost:${server.port}`, startTls: true }],
    ] as const)
      await proveMutualTls(t, site, name, {
        body: {
          type: 'ldap',
          username: server.adminDn,
          password: server.adminPassword,
          baseDn: server.suffix,
          requireCertificateType: 'REQUIRED_CN',
          ...fields,
        },
        keystore: 'PKCS12 by keytool',
        truststore: 'old PKCS12 by openssl',
        operation: 'search',
        input: { filter: '(ou=people)' },
        refused: { stage: 'authenticate', codes: ['tls_failed', 'connection_lost'] },
      });
  },

  async 'elasticsearch, by a proxy that demands certificates before OpenSearch'(t, site) {
    const node = await startOrSkip(t, () => startSearchNode('opensearch'));
    if (!node) return;
    t.after(() => node.stop());
    const front = await startFront(node, { certificate: site.certificate, clientCaPem: site.caPem });
    t.after(() => front[Symbol.asyncDispose]());
    const trust = async (which: 'root' | 'stranger') => {
      const { file, password } = await site.truststore('PKCS12 by keytool', which);
      return { caTruststoreFile: file, caTruststoreFilePass: password };
    };
    await proveMutualTls(t, site, 'elasticsearch', {
      body: {
        type: 'elasticsearch',
        elasticHostList: [{ scheme: 'https', host: 'localhost', port: front.port }],
        encryptCommunication: true,
        encryptCommunicationType: 'CERT_AND_PRIVATE_KEY_IN_PKCS_12',
      },
      trust,
      key: async (identity) => {
        const { file, password } = await site.keystore('PKCS12 by openssl', identity);
        return { caKeystoreFile: file, caKeystoreFilePass: password };
      },
      keystore: 'PKCS12 by openssl',
      truststore: 'PKCS12 by keytool',
      operation: 'index',
      input: { index: 'mutual', document: { text: 'by certificate' } },
      // Without a keystore such a connection is not valid.
      without: 'stranger',
      // With TLS 1.3 the client is done before the server looks at the certificate.
      refused: { stage: 'operate', codes: ['tls_failed', 'connection_lost'] },
    });
  },

  async 'MongoDB, by a proxy that demands certificates before mongo-java-server'(t, site) {
    const server = await startOrSkip(t, () => startMongodb());
    if (!server) return;
    t.after(() => server.stop());
    const proxy = createTlsServer(demanding(site), (client) => {
      const upstream = connect({ host: server.host, port: server.port });
      pipeline(client, upstream, client, () => {});
    });
    proxy.on('tlsClientError', () => {});
    const port = await listen(t, proxy);
    await proveMutualTls(t, site, 'mongodb', {
      body: {
        type: 'database',
        dbType: 'MONGODB',
        jdbcUrl: `mongodb://localhost:${port}/orders?tls=true`,
        useCredentials: false,
      },
      keystore: 'PKCS12 by keytool',
      truststore: 'JKS by keytool',
      operation: 'insert',
      input: { collection: 'mutual', documents: [{ text: 'by certificate' }] },
      refused: { stage: 'authenticate', codes: ['tls_failed', 'connection_lost'] },
    });
  },
};

/** Options of a TLS server that ends the handshake of a client without a certificate of the authority. */
function demanding({ certificate, caPem }: MutualTlsSite) {
  return {
    cert: certificate.certPem,
    key: certificate.keyPem,
    ca: caPem,
    requestCert: true,
    rejectUnauthorized: true,
  };
}

async function listen(
  t: TestContext,
  server: ReturnType<typeof createTlsServer> | ReturnType<typeof createHttpsServer>,
): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}
