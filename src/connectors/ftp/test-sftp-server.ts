import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import ssh2, { type Attributes, type Connection, type SFTPWrapper } from 'ssh2';

const { STATUS_CODE: status } = ssh2.utils.sftp;

interface Behaviour {
  /** Asked before a rename is done; true: it is refused. */
  refuseRename?(from: string, to: string): boolean;
  /** Asked before a rename is answered; true: the connection ends instead, the rename done. */
  endAtRename?(from: string, to: string): boolean;
  /** Bytes of a file after which the connection ends. */
  endAfterBytes?: number;
}

/**
 * An SFTP server of version 3 without extensions, over the directory that its client asks for: a rename does
 * not replace, as the draft has it. Changes of `behaviour` have effect at once. For tests.
 */
export async function startPlainSftp(t: TestContext, behaviour: Behaviour = {}): Promise<{ port: number }> {
  const connections = new Set<Connection>();
  // ssh2 cannot read each key of its own making: one of some hundred of ed25519 is malformed.
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const server = new ssh2.Server(
    { hostKeys: [privateKey.export({ type: 'sec1', format: 'pem' })] },
    (connection) => {
      connections.add(connection);
      connection
        .on('error', () => {})
        .on('close', () => connections.delete(connection))
        .on('authentication', (attempt) => attempt.accept())
        .on('session', (acceptSession) => {
          acceptSession().on('sftp', (acceptSftp) => serve(acceptSftp(), connection, behaviour));
        });
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    for (const connection of connections) connection.end();
    await new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port };
}

function serve(sftp: SFTPWrapper, connection: Connection, behaviour: Behaviour): void {
  const files: FileHandle[] = [];
  const fileOf = (handle: Buffer) => files[handle.readUInt32BE(0)]!;
  let bytes = 0;
  connection.once('close', () => {
    for (const file of files) void file.close().catch(() => {});
  });
  /** Answers a request with what `work` says, else with the status of its error. */
  const answer = (id: number, work: () => Promise<unknown>) =>
    void work().then(
      (isAnswered) => {
        if (isAnswered === undefined) sftp.status(id, status.OK);
      },
      ({ code }) => sftp.status(id, code === 'ENOENT' ? status.NO_SUCH_FILE : status.FAILURE),
    );
  const told = (id: number, look: Promise<{ mode: number; size: number }>) =>
    answer(id, async () => {
      const { mode, size } = await look;
      sftp.attrs(id, { mode, size, uid: 0, gid: 0, atime: 0, mtime: 0 } satisfies Attributes);
      return true;
    });

  sftp.on('REALPATH', (id, path) =>
    answer(id, async () => {
      const filename = await realpath(path);
      sftp.name(id, [{ filename, longname: filename, attrs: {} as Attributes }]);
      return true;
    }),
  );
  sftp.on('STAT', (id, path) => told(id, stat(path)));
  sftp.on('LSTAT', (id, path) => told(id, lstat(path)));
  sftp.on('OPEN', (id, path) =>
    answer(id, async () => {
      const handle = Buffer.alloc(4);
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
      handle.writeUInt32BE(files.push(await open(path, flags)) - 1);
      sftp.handle(id, handle);
      return true;
    }),
  );
  sftp.on('WRITE', (id, handle, offset, data) =>
    answer(id, async () => {
      await fileOf(handle).write(data, 0, data.length, offset);
      bytes += data.length;
      if (bytes > (behaviour.endAfterBytes ?? Number.POSITIVE_INFINITY)) connection.end();
    }),
  );
  sftp.on('CLOSE', (id, handle) => answer(id, () => fileOf(handle).close()));
  sftp.on('REMOVE', (id, path) => answer(id, () => unlink(path)));
  sftp.on('RENAME', (id, from, to) =>
    answer(id, async () => {
      const isThere = await lstat(to).then(
        () => true,
        () => false,
      );
      if (isThere || behaviour.refuseRename?.(from, to)) throw new Error('refused');
      await rename(from, to);
      if (behaviour.endAtRename?.(from, to)) connection.end();
    }),
  );
}
