import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import type { FileEntryWithStats, SFTPWrapper, Stats } from 'ssh2';
import { AppError } from '../../errors.ts';
import { SshSession, type SshSettings } from '../transport/ssh-session.ts';
import { asideName, type Entry, type FileSession, type ListOutput } from './file-session.ts';
import { besides, checkInside, join, splitPath } from './remote-path.ts';

const chunkBytes = 32 * 1024;
/** Requests in flight at a time, so that the round trip does not set the pace. */
const inFlight = 16;

/** File transfer over SSH (SFTP version 3), below a working directory. */
export class SftpSession implements FileSession {
  readonly #ssh: SshSession;
  readonly #sftp: SFTPWrapper;
  readonly #timeoutMs: number;
  readonly #root: string;
  #leftover: string | undefined;

  private constructor(ssh: SshSession, sftp: SFTPWrapper, timeoutMs: number, root: string) {
    this.#ssh = ssh;
    this.#sftp = sftp;
    this.#timeoutMs = timeoutMs;
    this.#root = root;
  }

  static async open(settings: SshSettings, workingDir: string, signal: AbortSignal): Promise<SftpSession> {
    const ssh = await SshSession.connect(settings, signal);
    await ssh.logIn(signal);
    return SftpSession.start(ssh, settings.timeoutMs, workingDir, signal);
  }

  /** Starts SFTP on a session that is logged in. */
  static async start(
    ssh: SshSession,
    timeoutMs: number,
    workingDir: string,
    signal: AbortSignal,
  ): Promise<SftpSession> {
    const sftp = await ssh.step<SFTPWrapper>(signal, timeoutMs, (resolve, reject) =>
      ssh.client.sftp((error, opened) => {
        if (error)
          reject(
            new AppError('permission_denied', 'The server does not offer SFTP to this account', {
              cause: error,
              details: { hint: 'The server needs `Subsystem sftp`, and the account the right to use it.' },
            }),
          );
        else resolve(opened);
      }),
    );
    sftp.on('error', () => {});
    const root = await ssh.step<string>(signal, timeoutMs, (resolve, reject) =>
      sftp.realpath(workingDir, (error, path) => {
        if (error) reject(sftpError(error, `The working directory ${workingDir}`));
        else resolve(path);
      }),
    );
    return new SftpSession(ssh, sftp, timeoutMs, root);
  }

  get alive(): boolean {
    return this.#ssh.alive;
  }

  get leftover(): string | undefined {
    return this.#leftover;
  }

  onEnd(listener: () => void): () => void {
    return this.#ssh.onEnd(listener);
  }

  quit(): Promise<void> {
    return this.#ssh.quit();
  }

  destroy(): void {
    this.#ssh.destroy();
  }

  async prove(signal: AbortSignal): Promise<string> {
    const stats = await this.#call<Stats>(signal, 'The working directory', (done) =>
      this.#sftp.stat(this.#root, done),
    );
    if (!stats.isDirectory())
      throw new AppError('request_rejected', `The working directory ${this.#root} is no directory`);
    return `the working directory is ${this.#root}`;
  }

  async list(path: string, maxEntries: number, signal: AbortSignal): Promise<ListOutput> {
    const directory = await this.#resolve(path, signal);
    const handle = await this.#call<Buffer>(signal, path, (done) => this.#sftp.opendir(directory, done));
    const entries: Entry[] = [];
    try {
      while (entries.length <= maxEntries) {
        const page = await this.#readDirectory(handle, path, signal);
        if (page === undefined) break;
        for (const { filename, attrs } of page)
          if (filename !== '.' && filename !== '..') entries.push(toEntry(filename, attrs));
      }
    } finally {
      await this.#closeHandle(handle, signal);
    }
    return { entries: entries.slice(0, maxEntries), truncated: entries.length > maxEntries };
  }

  async upload(
    path: string,
    content: Buffer,
    { overwrite, makeDirectories }: { overwrite: boolean; makeDirectories: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const { parent, base } = splitPath(path);
    if (makeDirectories && parent !== '') await this.makeDirectory(parent, true, signal);
    const directory = await this.#resolve(parent, signal);
    const target = join(directory, base);
    if (!overwrite && (await this.#exists(target, signal))) throw alreadyThere(path);
    const name = temporaryName(base);
    const temporary = join(directory, name);
    let handle: Buffer | undefined;
    try {
      this.#leftover = besides(path, name);
      const opened = await this.#call<Buffer>(signal, path, (done) => this.#sftp.open(temporary, 'wx', done));
      handle = opened;
      await this.#write(opened, path, content, signal);
      handle = undefined;
      await this.#call<void>(signal, path, (done) =>
        this.#sftp.close(opened, (error) => done(error ?? undefined)),
      );
      await this.#renameTo(temporary, target, path, overwrite, signal).catch(async (error: unknown) => {
        throw (await this.#exists(temporary, signal)) ? error : takenAway(path, error);
      });
      this.#leftover = undefined;
    } catch (refused) {
      const error = (await this.#isFull(refused, directory, content.length, signal))
        ? new AppError('quota_exceeded', `${path}: the disk of the server is full`, { cause: refused })
        : refused;
      // A file that is open takes up its room even when it has no name any more.
      if (handle) await this.#closeHandle(handle, signal);
      if (this.alive)
        await this.#call<void>(signal, path, (done) =>
          this.#sftp.unlink(temporary, (failed) => done(failed ?? undefined)),
        ).catch(() => {});
      if (this.alive) this.#leftover = undefined;
      throw error;
    }
  }

  /** OpenSSH says of a full disk that it has failed, and no more; but how much room there is, when it is asked. */
  async #isFull(refused: unknown, directory: string, bytes: number, signal: AbortSignal): Promise<boolean> {
    const { code } = ((refused as Error).cause ?? {}) as { code?: unknown };
    if (code !== statusFailure || !this.alive) return false;
    try {
      const disk = await this.#call<FileSystem>(signal, directory, (done) =>
        this.#sftp.ext_openssh_statvfs(directory, done),
      );
      return Number(disk.f_bavail) * Number(disk.f_frsize) < bytes;
    } catch {
      return false;
    }
  }

  async download(path: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    const file = await this.#resolve(path, signal);
    const handle = await this.#call<Buffer>(signal, path, (done) => this.#sftp.open(file, 'r', done));
    try {
      const { size } = await this.#call<Stats>(signal, path, (done) => this.#sftp.fstat(handle, done));
      if (size > maxBytes) throw tooLarge(path, maxBytes);
      const parts: Buffer[] = [];
      let read = 0;
      // A file that grows meanwhile is read on, up to the limit.
      for (let isOver = false; !isOver; ) {
        const from = read;
        const wanted = from < size ? Math.min(inFlight, Math.ceil((size - from) / chunkBytes)) : 1;
        const chunks = await Promise.all(
          Array.from({ length: wanted }, (_, at) => this.#read(handle, from + at * chunkBytes, path, signal)),
        );
        for (const chunk of chunks) {
          parts.push(chunk);
          read += chunk.length;
          // What follows a short read does not join it: it is read again from here.
          if (chunk.length < chunkBytes) {
            isOver = chunk.length === 0;
            break;
          }
        }
        if (read > maxBytes) throw tooLarge(path, maxBytes);
      }
      return Buffer.concat(parts);
    } finally {
      await this.#closeHandle(handle, signal);
    }
  }

  async delete(path: string, isDirectory: boolean, signal: AbortSignal): Promise<void> {
    const target = await this.#place(path, signal);
    await this.#call<void>(signal, path, (done) => {
      const finish = (error?: Error | null) => done(error ?? undefined);
      if (isDirectory) this.#sftp.rmdir(target, finish);
      else this.#sftp.unlink(target, finish);
    });
  }

  async rename(from: string, to: string, signal: AbortSignal): Promise<void> {
    const [source, target] = [await this.#place(from, signal), await this.#place(to, signal)];
    await this.#call<void>(signal, from, (done) =>
      this.#sftp.rename(source, target, (error) => done(error ?? undefined)),
    );
  }

  async makeDirectory(path: string, parents: boolean, signal: AbortSignal): Promise<void> {
    const make = async (each: string) => {
      const target = await this.#place(each, signal);
      await this.#call<void>(signal, each, (done) =>
        this.#sftp.mkdir(target, (error) => done(error ?? undefined)),
      );
    };
    if (!parents) return make(path);
    const parts = path.split('/');
    for (let length = 1; length <= parts.length; length++) {
      const each = parts.slice(0, length).join('/');
      try {
        await make(each);
      } catch (error) {
        const stats = await this.#stat(await this.#resolve(each, signal).catch(() => undefined), signal);
        if (!stats?.isDirectory()) throw error;
      }
    }
  }

  async exists(path: string, signal: AbortSignal): Promise<boolean> {
    return this.#exists(await this.#place(path, signal), signal);
  }

  /** The place of an entry that need not be there; its directory must, below the root. */
  async #place(path: string, signal: AbortSignal): Promise<string> {
    const { parent, base } = splitPath(path);
    return join(await this.#resolve(parent, signal), base);
  }

  async #resolve(path: string, signal: AbortSignal): Promise<string> {
    if (path === '') return this.#root;
    const resolved = await this.#call<string>(signal, path, (done) =>
      this.#sftp.realpath(join(this.#root, path), done),
    );
    checkInside(this.#root, resolved);
    return resolved;
  }

  async #exists(target: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#stat(target, signal)) !== undefined;
  }

  async #stat(target: string | undefined, signal: AbortSignal): Promise<Stats | undefined> {
    if (target === undefined) return undefined;
    return this.#call<Stats>(signal, target, (done) => this.#sftp.lstat(target, done)).catch((error) => {
      if (this.alive) return undefined;
      throw error;
    });
  }

  async #renameTo(
    temporary: string,
    target: string,
    path: string,
    overwrite: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const plain = () =>
      this.#call<void>(signal, path, (done) =>
        this.#sftp.rename(temporary, target, (error) => done(error ?? undefined)),
      );
    // The plain rename of version 3 refuses a target that is there, which is what is wanted then.
    if (!overwrite) return plain();
    try {
      await this.#call<void>(signal, path, (done) =>
        this.#sftp.ext_openssh_rename(temporary, target, (error) => done(error ?? undefined)),
      );
    } catch (error) {
      if (!(error instanceof AppError) || !/does not (know|support)/.test(error.message)) throw error;
      // What is there goes only for something that is there in its place.
      if (!(await this.#exists(temporary, signal))) throw error;
      const move = (from: string, to: string) =>
        this.#call<void>(signal, path, (done) =>
          this.#sftp.rename(from, to, (failed) => done(failed ?? undefined)),
        );
      // What is there steps aside, and comes back if need be.
      const aside = asideName(temporary);
      const isReplaced = await move(target, aside).then(
        () => true,
        () => false,
      );
      try {
        await plain();
      } catch (failure) {
        if (isReplaced) await move(aside, target);
        throw failure;
      }
      if (isReplaced)
        await this.#call<void>(signal, path, (done) =>
          this.#sftp.unlink(aside, (failed) => done(failed ?? undefined)),
        ).catch(() => {});
    }
  }

  async #write(handle: Buffer, path: string, content: Buffer, signal: AbortSignal): Promise<void> {
    for (let from = 0; from < content.length; from += inFlight * chunkBytes) {
      const batch: Promise<void>[] = [];
      for (let at = from; at < Math.min(content.length, from + inFlight * chunkBytes); at += chunkBytes) {
        const length = Math.min(chunkBytes, content.length - at);
        batch.push(
          this.#call<void>(signal, path, (done) =>
            this.#sftp.write(handle, content, at, length, at, (error) => done(error ?? undefined)),
          ),
        );
      }
      await Promise.all(batch);
    }
  }

  #read(handle: Buffer, position: number, path: string, signal: AbortSignal): Promise<Buffer> {
    const buffer = Buffer.alloc(chunkBytes);
    return this.#call<Buffer>(signal, path, (done) =>
      this.#sftp.read(handle, buffer, 0, chunkBytes, position, (error, bytes) => {
        if ((error as { code?: unknown } | undefined)?.code === statusEof) done(undefined, Buffer.alloc(0));
        else done(error, buffer.subarray(0, bytes));
      }),
    );
  }

  #readDirectory(
    handle: Buffer,
    path: string,
    signal: AbortSignal,
  ): Promise<FileEntryWithStats[] | undefined> {
    return this.#call<FileEntryWithStats[] | undefined>(signal, path, (done) =>
      this.#sftp.readdir(handle, (error, list) => {
        if ((error as { code?: unknown } | undefined)?.code === statusEof) done(undefined, undefined);
        else done(error as Error | undefined, list as unknown as FileEntryWithStats[]);
      }),
    );
  }

  async #closeHandle(handle: Buffer, signal: AbortSignal): Promise<void> {
    if (!this.alive) return;
    await this.#call<void>(signal, 'a handle', (done) =>
      this.#sftp.close(handle, (error) => done(error ?? undefined)),
    ).catch(() => {});
  }

  #call<T>(
    signal: AbortSignal,
    path: string,
    start: (done: (error: Error | undefined, value?: T) => void) => void,
  ): Promise<T> {
    // A refused request is no reason to end the session, so it is told from a broken one.
    return this.#ssh
      .step<{ value: T } | { error: Error }>(signal, this.#timeoutMs, (resolve) => {
        try {
          start((error, value) => resolve(error ? { error } : { value: value as T }));
        } catch (error) {
          resolve({ error: error as Error });
        }
      })
      .then((answer) => {
        if ('error' in answer) throw sftpError(answer.error, path);
        return answer.value;
      });
  }
}

const statusEof = 1;
const statusFailure = 4;

/** Of statvfs@openssh.com (OpenSSH, PROTOCOL 4.4): what is used of it. */
interface FileSystem {
  f_bavail: number | bigint;
  f_frsize: number | bigint;
}

/** A status of the server (draft-ietf-secsh-filexfer-02, 7) as an error of ours. */
function sftpError(error: Error, path: string): AppError {
  const { code } = error as { code?: unknown };
  const as = (ours: AppError['code'], said: string, hint?: string) =>
    new AppError(ours, `${path}: ${said}`, { cause: error, details: hint ? { hint } : {} });
  switch (code) {
    case 2:
      return as('request_rejected', 'there is no such file or directory');
    case 3:
      return as('permission_denied', 'the server denies the access');
    case 5:
      return as('protocol_error', error.message);
    case 6:
    case 7:
      return as('connection_lost', error.message);
    case 8:
      return as('request_rejected', 'the server does not support this request');
    // Of later drafts, which servers use in this one.
    case 14:
      return as('quota_exceeded', 'the disk of the server is full');
    case 15:
      return as('quota_exceeded', 'the quota of the account is used up');
    case statusFailure:
      return as(
        'request_rejected',
        `the server refused it (${error.message})`,
        'SFTP servers say no more; the target may be there already, not be empty, or the disk be full.',
      );
  }
  if (/does not support/.test(error.message))
    return as('request_rejected', 'the server does not support this request');
  return as('connection_lost', error.message);
}

/** ProFTPD says yes to every write beyond a quota, and removes the file when it is closed. */
function takenAway(path: string, cause: unknown): AppError {
  return new AppError('quota_exceeded', `${path}: the server removed what it had taken`, {
    cause,
    details: { hint: 'The quota of the account may be used up, or a scanner of the server objects.' },
  });
}

export function temporaryName(base: string): string {
  // Names are limited to 255 bytes; the end of a long one is dropped.
  return `.${Buffer.from(base)
    .subarray(0, 200)
    .toString()
    .replace(/\ufffd/g, '')}.${randomBytes(6).toString('hex')}.part`;
}

export function alreadyThere(path: string): AppError {
  return new AppError('request_rejected', `${path}: there is such a file already, and overwrite is off`);
}

export function tooLarge(path: string, maxBytes: number): AppError {
  return new AppError('message_too_large', `${path}: the file is larger than ${maxBytes} bytes (maxBytes)`);
}

const kinds = new Map<number, Entry['type']>([
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'directory'],
  [constants.S_IFLNK, 'symlink'],
]);

function toEntry(name: string, { mode, size, mtime }: FileEntryWithStats['attrs']): Entry {
  return {
    name,
    type: kinds.get(mode & constants.S_IFMT) ?? 'other',
    size: size ?? null,
    modifiedAt: mtime === undefined ? null : new Date(mtime * 1000).toISOString(),
    permissions: permissionsOf(mode),
  };
}

export function permissionsOf(mode: number): string {
  return [...'rwxrwxrwx'].map((letter, at) => (mode & (0o400 >> at) ? letter : '-')).join('');
}
