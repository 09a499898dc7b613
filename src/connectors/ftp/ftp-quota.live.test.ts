import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createContext, trustIn } from '../../../test/contract/connector-context.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startProftpd } from '../../../test/services/proftpd.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { ftpConnector } from './ftp.connector.ts';
import type { ftp } from './ftp.definition.ts';
import { rejectsForQuota, upload } from './test-upload.ts';

const authority = createAuthority();
const certificate = authority.issue({ commonName: 'files.test', names: ['localhost'], ips: ['127.0.0.1'] });

for (const protocol of ['FTP', 'FTPS', 'SFTP'] as const)
  test(`${protocol}: an upload beyond the quota is refused, leaves nothing, and what there was stays`, async (t) => {
    const server = await startOrSkip(t, () => startProftpd({ certificate, quotaBytes: 100_000 }));
    if (!server) return;
    t.after(() => server.stop());
    const config: ConfigOf<typeof ftp> = {
      type: 'ftp',
      name: 'files',
      deployToWorker: true,
      enabled: true,
      environments: [],
      labels: {},
      circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
      host: server.host,
      port: protocol === 'SFTP' ? server.sftpPort : server.port,
      protocol,
      useImplicit: false,
      useExplicit: protocol === 'FTPS',
      sslProtocol: 'TLS',
      verifyCertificate: true,
      username: server.user,
      password: server.password,
      workingDir: '/',
      timeout: 20_000,
      retryCount: 3,
    };
    const ctx = createContext({
      signal: new AbortController().signal,
      trust: trustIn(authority.caPem),
    });
    const live = await ftpConnector.open(config, ctx);
    t.after(() => ftpConnector.close(live));
    await upload(live, 'first.txt', 60_000);
    for (const name of ['second.txt', 'first.txt']) await rejectsForQuota(live, name, 600_000);
    assert.deepEqual(await readdir(server.home), ['first.txt']);
    assert.equal((await stat(join(server.home, 'first.txt'))).size, 60_000);
  });
