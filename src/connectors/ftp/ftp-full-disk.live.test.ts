import assert from 'node:assert/strict';
import { readdir, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { mountSmallDisk } from '../../../test/services/small-disk.ts';
import { startSshd } from '../../../test/services/sshd.ts';
import { parseConnection } from '../../contract/validation.ts';
import { ftpConnector } from './ftp.connector.ts';
import { ftp } from './ftp.definition.ts';
import { rejectsForQuota, upload } from './test-upload.ts';

test('SFTP: an upload to a full disk of OpenSSH is told as such, leaves nothing, and what there was stays', async (t) => {
  const server = await startOrSkip(t, () => startSshd());
  if (!server) return;
  t.after(() => server.stop());
  const disk = await startOrSkip(t, () => mountSmallDisk(400 * 1024));
  if (!disk) return;
  t.after(() => disk.stop());
  const { password, privateKey, user, port, fingerprint } = server;
  const parsed = parseConnection(ftp, {
    type: 'ftp',
    name: 'files',
    host: server.host,
    port,
    protocol: 'SFTP',
    username: user,
    ...(password === undefined ? { privateKey } : { password }),
    hostKeyFingerprint: fingerprint,
    workingDir: disk.path,
  });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  const ctx = createContext({ signal: new AbortController().signal });
  const live = await ftpConnector.open(parsed.config as never, ctx);
  t.after(() => ftpConnector.close(live));

  await writeFile(join(disk.path, 'ballast'), Buffer.alloc(200 * 1024));
  await upload(live, 'first.txt', 60_000);
  for (const name of ['second.txt', 'first.txt'])
    await rejectsForQuota(live, name, 300_000, /disk of the server is full/);
  assert.deepEqual((await readdir(disk.path)).toSorted(), ['ballast', 'first.txt']);
  assert.equal((await stat(join(disk.path, 'first.txt'))).size, 60_000);

  await unlink(join(disk.path, 'ballast'));
  await upload(live, 'first.txt', 300_000);
  assert.equal((await stat(join(disk.path, 'first.txt'))).size, 300_000);
});
