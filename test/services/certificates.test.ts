import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { type ConnectionOptions, connect, createServer } from 'node:tls';
import { type Certificate, createAuthority } from './certificates.ts';

const authority = createAuthority();

async function handshake(server: Certificate, options: ConnectionOptions): Promise<string> {
  const listener = createServer({ key: server.keyPem, cert: server.certPem }, (socket) => socket.end());
  listener.on('tlsClientError', () => {});
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  try {
    const socket = connect({ host: '127.0.0.1', port, ca: authority.caPem, ...options });
    await once(socket, 'secureConnect');
    socket.destroy();
    return 'accepted';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    listener.close();
  }
}

test('a certificate is accepted for its name and address, by whoever trusts the authority', async () => {
  const server = authority.issue({ commonName: 'mail', names: ['mail.test'], ips: ['127.0.0.1'] });
  assert.equal(await handshake(server, {}), 'accepted');
  assert.equal(await handshake(server, { servername: 'mail.test' }), 'accepted');
  assert.equal(await handshake(server, { servername: 'other.test' }), 'ERR_TLS_CERT_ALTNAME_INVALID');
  assert.equal(
    await handshake(server, { ca: createAuthority('Other CA').caPem }),
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  );
});

test('an expired certificate is refused as expired', async () => {
  const server = authority.issue({ commonName: 'mail', ips: ['127.0.0.1'], expired: true });
  assert.equal(await handshake(server, {}), 'CERT_HAS_EXPIRED');
});

test('a client certificate says so', () => {
  const { certPem } = authority.issue({ commonName: 'worker', client: true });
  assert.deepEqual(new X509Certificate(certPem).keyUsage, ['1.3.6.1.5.5.7.3.2']);
});
