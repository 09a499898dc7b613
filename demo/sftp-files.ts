import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import ssh2, { type Attributes, type SFTPWrapper } from 'ssh2';

const { STATUS_CODE, flagsToString } = ssh2.utils.sftp;

type Handle = { file: FileHandle } | { directory: string; isRead: boolean };

/** Serves the files below a directory by SFTP version 3; paths of the client begin there. */
export function serveFiles(sftp: SFTPWrapper, root: string): void {
  const handles = new Map<number, Handle>();
  let lastHandle = 0;

  const place = (path: string) => join(root, posix.resolve('/', path));
  const keep = (handle: Handle): Buffer => {
    lastHandle += 1;
    handles.set(lastHandle, handle);
    const name = Buffer.alloc(4);
    name.writeUInt32BE(lastHandle);
    return name;
  };
  const find = (name: Buffer) => handles.get(name.length === 4 ? name.readUInt32BE() : -1);
  const fileOf = (name: Buffer): FileHandle => {
    const handle = find(name);
    if (!handle || !('file' in handle)) throw new Error('there is no such handle');
    return handle.file;
  };
  /** Answers by `work`, or says what its error says. */
  const answer = (id: number, work: () => Promise<unknown>) => {
    work().catch((error: NodeJS.ErrnoException) =>
      sftp.status(id, statusOf(error), error.code ?? error.message),
    );
  };
  /** Answers that it is done. */
  const finish = (id: number, work: () => Promise<unknown>) =>
    answer(id, async () => {
      await work();
      sftp.status(id, STATUS_CODE.OK);
    });

  sftp.on('REALPATH', (id, path) => {
    const filename = posix.resolve('/', path);
    sftp.name(id, [{ filename, longname: filename, attrs: {} as Attributes }]);
  });
  for (const [event, read] of [
    ['STAT', stat],
    ['LSTAT', lstat],
  ] as const)
    sftp.on(event as 'STAT', (id, path) =>
      answer(id, async () => {
        sftp.attrs(id, attributesOf(await read(place(path))));
      }),
    );
  sftp.on('OPENDIR', (id, path) =>
    answer(id, async () => {
      const directory = place(path);
      await readdir(directory);
      sftp.handle(id, keep({ directory, isRead: false }));
    }),
  );
  sftp.on('READDIR', (id, name) =>
    answer(id, async () => {
      const handle = find(name);
      if (!handle || !('directory' in handle)) throw new Error('there is no such handle');
      const names = handle.isRead ? [] : await readdir(handle.directory);
      handle.isRead = true;
      if (names.length === 0) sftp.status(id, STATUS_CODE.EOF);
      else
        sftp.name(
          id,
          await Promise.all(
            names.map(async (filename) => ({
              filename,
              longname: filename,
              attrs: attributesOf(await lstat(join(handle.directory, filename))),
            })),
          ),
        );
    }),
  );
  sftp.on('OPEN', (id, path, flags) =>
    answer(id, async () => {
      sftp.handle(id, keep({ file: await open(place(path), flagsToString(flags) ?? 'r', 0o600) }));
    }),
  );
  sftp.on('READ', (id, name, offset, length) =>
    answer(id, async () => {
      const { buffer, bytesRead } = await fileOf(name).read(Buffer.alloc(Math.min(length, 262_144)), {
        position: offset,
      });
      if (bytesRead === 0) sftp.status(id, STATUS_CODE.EOF);
      else sftp.data(id, buffer.subarray(0, bytesRead));
    }),
  );
  sftp.on('WRITE', (id, name, offset, data) =>
    finish(id, async () => fileOf(name).write(data, 0, data.length, offset)),
  );
  sftp.on('FSTAT', (id, name) =>
    answer(id, async () => {
      sftp.attrs(id, attributesOf(await fileOf(name).stat()));
    }),
  );
  sftp.on('CLOSE', (id, name) =>
    finish(id, async () => {
      const handle = find(name);
      handles.delete(name.readUInt32BE());
      if (handle && 'file' in handle) await handle.file.close();
    }),
  );
  sftp.on('REMOVE', (id, path) => finish(id, () => rm(place(path))));
  sftp.on('RMDIR', (id, path) => finish(id, () => rmdir(place(path))));
  sftp.on('MKDIR', (id, path) => finish(id, () => mkdir(place(path))));
  sftp.on('RENAME', (id, from, to) =>
    finish(id, async () => {
      // Version 3 refuses a target that is there; the system's own rename would replace it.
      if (await lstat(place(to)).catch(() => undefined)) throw new Error('there is such a file already');
      await rename(place(from), place(to));
    }),
  );
  sftp.on('close', () => {
    for (const handle of handles.values()) if ('file' in handle) void handle.file.close().catch(() => {});
    handles.clear();
  });
}

function attributesOf({
  mode,
  uid,
  gid,
  size,
  atimeMs,
  mtimeMs,
}: Awaited<ReturnType<typeof stat>>): Attributes {
  return {
    mode: Number(mode),
    uid: Number(uid),
    gid: Number(gid),
    size: Number(size),
    atime: Math.floor(Number(atimeMs) / 1000),
    mtime: Math.floor(Number(mtimeMs) / 1000),
  };
}

function statusOf({ code }: NodeJS.ErrnoException): number {
  if (code === 'ENOENT') return STATUS_CODE.NO_SUCH_FILE;
  if (code === 'EACCES' || code === 'EPERM') return STATUS_CODE.PERMISSION_DENIED;
  return STATUS_CODE.FAILURE;
}
