import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { type CertificateRequest, createAuthority } from '../../../test/services/certificates.ts';
import { describeTls } from './describe-tls.ts';

const root = createAuthority('Root CA');
const between = root.subordinate('Issuing CA');
const dayMs = 86_400_000;
const inDays = (days: number) => new Date(Date.now() + days * dayMs).toISOString().slice(0, 10);

/** What is said of a server that shows the certificate and what it was issued by. */
async function described(request: Partial<CertificateRequest>, ca: string | undefined): Promise<string> {
  const { certPem, keyPem } = between.issue({ commonName: 'leaf.test', ips: ['127.0.0.1'], ...request });
  const server = createServer({ cert: certPem + between.caPem, key: keyPem }).listen(0, '127.0.0.1');
  server.on('tlsClientError', () => {});
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const options = ca === undefined ? { rejectUnauthorized: false } : { ca };
  const socket: TLSSocket = connect({ host: '127.0.0.1', port, ...options });
  try {
    await once(socket, 'secureConnect');
    return describeTls(socket, 'test');
  } finally {
    socket.destroy();
    server.close();
  }
}

test('the chain is told up to the root, each with its expiry', async () => {
  const until = inDays(30);
  assert.match(
    await described({}, root.caPem),
    new RegExp(
      `^TLSv1\\.3, \\w+ \\(test\\), subject leaf\\.test, issuer Issuing CA, valid until ${until}, chain Issuing CA \\(until ${until}\\) ← Root CA \\(until ${until}\\)$`,
    ),
  );
});

test('a certificate that nobody verified is said to be so', async () => {
  assert.match(await described({}, undefined), /, NOT verified$/);
});

test('one that ends soon is to be renewed, one that has ended is told', async () => {
  assert.match(
    await described({ validDays: 5 }, root.caPem),
    new RegExp(`valid until ${inDays(5)}, in [45] days: renew it, chain`),
  );
  assert.match(await described({ expired: true }, undefined), /, EXPIRED, chain/);
});
