import { isIP, type Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionOptions, connect as connectTls, TLSSocket } from 'node:tls';
import { Client, type FileInfo, type FTPContext, FTPError, type FTPResponse } from 'basic-ftp';
import { AppError } from '../../errors.ts';
import { abortError, type Network } from '../connector.ts';
import { asideName, type Entry, type FileSession, type ListOutput } from './file-session.ts';
import { classifyFtpError } from './ftp-errors.ts';
import { besides, checkInside, join, splitPath } from './remote-path.ts';
import { alreadyThere, permissionsOf, temporaryName, tooLarge } from './sftp-session.ts';

export interface FtpSettings {
  readonly network: Network;
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly transport: 'plain' | 'explicit' | 'implicit';
  readonly tls: ConnectionOptions;
  readonly username: string;
  readonly password: string;
  readonly workingDir: string;
}

/** An FTP session (RFC 959, 4217) whose every socket comes from the worker's network. */
export class FtpSession implements FileSession {
  readonly #settings: FtpSettings;
  readonly #client: Client;
  readonly #listeners = new Set<() => void>();
  readonly #closing = new AbortController();
  #socket: Socket;
  #greeting = '';
  #ended: AppError | undefined;
  #root = '';
  #supportsEpsv = true;
  /** The latest reply of 400 and above, while a transfer runs. */
  #refusal: FTPError | undefined;
  #leftover: string | undefined;

  private constructor(settings: FtpSettings, socket: Socket) {
    this.#settings = settings;
    this.#socket = socket;
    this.#client = new Client(settings.timeoutMs);
    this.#client.prepareTransfer = (ftp) => this.#openData(ftp);
    this.#client.ftp.log = (line) => {
      const refused = /^< ([45]\d\d)[ -](.*)/s.exec(line);
      if (refused) this.#refusal = new FTPError({ code: Number(refused[1]), message: line.slice(2) });
    };
  }

  /** Connects, and reads the greeting unless TLS comes before it. */
  static async connect(settings: FtpSettings, signal: AbortSignal): Promise<FtpSession> {
    const { network, host, port, timeoutMs } = settings;
    const socket = await network.connect({ host, port, timeoutMs, signal });
    const session = new FtpSession(settings, socket);
    socket.once('close', () => session.#end());
    if (settings.transport !== 'implicit') await session.#greet(signal);
    return session;
  }

  get greeting(): string {
    return this.#greeting;
  }

  get remoteAddress(): string {
    return `${this.#socket.remoteAddress} port ${this.#settings.port}`;
  }

  get root(): string {
    return this.#root;
  }

  get alive(): boolean {
    return this.#ended === undefined && !this.#client.closed && !this.#socket.destroyed;
  }

  get leftover(): string | undefined {
    return this.#leftover;
  }

  /** Puts TLS over the control connection, after AUTH TLS where that is the way. */
  async secure(signal: AbortSignal): Promise<TLSSocket> {
    const { network, host, timeoutMs, tls, transport } = this.#settings;
    if (transport === 'explicit')
      await this.#run(signal, () => this.#client.send('AUTH TLS')).catch((error: unknown) => {
        const failure = classifyFtpError(error);
        this.destroy();
        throw failure?.cause instanceof FTPError
          ? new AppError('tls_not_offered', `The server refused AUTH TLS: ${failure.message}`, {
              cause: error,
              details: {
                hint: 'Try implicit TLS on port 990; without TLS everybody on the way can read all.',
              },
            })
          : error;
      });
    let secured: TLSSocket;
    try {
      secured = await network.secure(this.#socket, { ...tls, host, timeoutMs, signal });
    } catch (error) {
      this.destroy();
      throw error;
    }
    this.#socket = secured;
    secured.once('close', () => this.#end());
    if (transport === 'implicit') await this.#greet(signal);
    else this.#client.ftp.socket = secured;
    this.#client.ftp.tlsOptions = this.#dataTls();
    return secured;
  }

  /** Whether the server would speak TLS after AUTH TLS (RFC 4217); false where it does not tell. */
  async offersTls(signal: AbortSignal): Promise<boolean> {
    const features = await this.#run(signal, () => this.#client.features());
    return /\bTLS\b/i.test(features.get('AUTH') ?? '');
  }

  /** Logs in and enters the working directory. */
  async logIn(signal: AbortSignal): Promise<void> {
    const { username, password } = this.#settings;
    await this.#run(signal, async () => {
      await this.#client.sendIgnoringError('OPTS UTF8 ON');
      await this.#client.login(username, password);
      await this.#client.useDefaultSettings();
    });
  }

  async enterWorkingDirectory(signal: AbortSignal): Promise<void> {
    const { workingDir } = this.#settings;
    this.#root = await this.#run(signal, async () => {
      await this.#client.send(`CWD ${workingDir}`);
      return this.#currentDirectory();
    }).catch((error: unknown) => {
      const failure = classifyFtpError(error);
      if (!(failure?.cause instanceof FTPError)) throw error;
      throw new AppError(failure.code, `The working directory ${workingDir}: ${failure.message}`, {
        cause: error,
        details: { hint: 'Check workingDir: it must be there, and the account must be allowed to enter it.' },
      });
    });
  }

  onEnd(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async quit(): Promise<void> {
    if (this.alive) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, 1000);
      });
      const said = this.#client.sendIgnoringError('QUIT').then(
        () => {},
        () => {},
      );
      await Promise.race([said, late]);
      clearTimeout(timer);
    }
    this.destroy();
  }

  destroy(): void {
    this.#client.close();
    this.#socket.destroy();
    this.#end();
  }

  async prove(signal: AbortSignal): Promise<string> {
    await this.#run(signal, () => this.#client.send('NOOP'));
    return `the working directory is ${this.#root}`;
  }

  list(path: string, maxEntries: number, signal: AbortSignal): Promise<ListOutput> {
    return this.#run(signal, async () => {
      await this.#enter(path);
      const found = (await this.#transfer(() => this.#client.list())).filter(
        ({ name }) => name !== '.' && name !== '..',
      );
      return { entries: found.slice(0, maxEntries).map(toEntry), truncated: found.length > maxEntries };
    });
  }

  upload(
    path: string,
    content: Buffer,
    { overwrite, makeDirectories }: { overwrite: boolean; makeDirectories: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    return this.#run(signal, async () => {
      const { parent, base } = splitPath(path);
      if (makeDirectories && parent !== '') await this.#makeDirectories(parent);
      const directory = await this.#enter(parent);
      const target = join(directory, base);
      if (!overwrite && (await this.#exists(target))) throw alreadyThere(path);
      const name = temporaryName(base);
      const temporary = join(directory, name);
      try {
        this.#leftover = besides(path, name);
        await this.#transfer(() =>
          this.#client.uploadFrom(
            withoutOthersFailure(Readable.from(slices(content), { objectMode: false })),
            temporary,
          ),
        );
        await this.#replace(temporary, target, overwrite);
        this.#leftover = undefined;
      } catch (error) {
        if (this.alive) await this.#client.sendIgnoringError(`DELE ${temporary}`).catch(() => {});
        if (this.alive) this.#leftover = undefined;
        throw error;
      }
    });
  }

  download(path: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    return this.#run(signal, async () => {
      const target = await this.#place(path);
      const known = await this.#sizeOf(target);
      if (known !== undefined && known > maxBytes) throw tooLarge(path, maxBytes);
      const parts: Buffer[] = [];
      let size = 0;
      const destination = withoutOthersFailure(
        new Writable({
          write(chunk: Buffer, _encoding, done) {
            size += chunk.length;
            if (size > maxBytes) return done(tooLarge(path, maxBytes));
            parts.push(chunk);
            done();
          },
        }),
      );
      try {
        await this.#transfer(() => this.#client.downloadTo(destination, target));
      } catch (error) {
        // The rest is still on its way; ending the session is the way to stop it.
        if (size > maxBytes) {
          this.destroy();
          throw tooLarge(path, maxBytes);
        }
        throw error;
      }
      return Buffer.concat(parts);
    });
  }

  delete(path: string, isDirectory: boolean, signal: AbortSignal): Promise<void> {
    return this.#run(signal, async () => {
      await this.#client.send(`${isDirectory ? 'RMD' : 'DELE'} ${await this.#place(path)}`);
    });
  }

  rename(from: string, to: string, signal: AbortSignal): Promise<void> {
    return this.#run(signal, async () => {
      const [source, target] = [await this.#place(from), await this.#place(to)];
      if (await this.#exists(target)) throw alreadyThere(to);
      await this.#client.rename(source, target);
    });
  }

  makeDirectory(path: string, parents: boolean, signal: AbortSignal): Promise<void> {
    return this.#run(signal, async () => {
      if (parents) await this.#makeDirectories(path);
      else await this.#client.send(`MKD ${await this.#place(path)}`);
    });
  }

  exists(path: string, signal: AbortSignal): Promise<boolean> {
    return this.#run(signal, async () => this.#exists(await this.#place(path)));
  }

  async #makeDirectories(path: string): Promise<void> {
    const parts = path.split('/');
    for (let length = 1; length <= parts.length; length++) {
      const each = parts.slice(0, length).join('/');
      const made = await this.#client.send(`MKD ${await this.#place(each)}`).catch((error: unknown) => {
        if (error instanceof FTPError) return error;
        throw error;
      });
      // Servers tell by text alone whether it was there before: entering it is the proof.
      await this.#enter(each).catch((error: unknown) => {
        throw made instanceof FTPError && error instanceof FTPError ? made : error;
      });
    }
  }

  /** The place of an entry that need not be there; its directory must, below the root. */
  async #place(path: string): Promise<string> {
    const { parent, base } = splitPath(path);
    return join(await this.#enter(parent), base);
  }

  /** Enters a directory; answers its place as the server names it, links resolved where it does so. */
  async #enter(path: string): Promise<string> {
    await this.#client.send(`CWD ${join(this.#root, path)}`);
    const directory = await this.#currentDirectory();
    checkInside(this.#root, directory);
    return directory;
  }

  async #currentDirectory(): Promise<string> {
    const { message } = await this.#client.send('PWD');
    // A quotation mark in the name is doubled (RFC 959, appendix II).
    const quoted = /"((?:[^"]|"")*)"/.exec(message)?.[1];
    if (quoted === undefined || /[\x00-\x1f]/.test(quoted))
      throw new AppError('protocol_error', `The server's answer to PWD is not understood: ${message}`);
    return quoted.replaceAll('""', '"');
  }

  async #exists(target: string): Promise<boolean> {
    if ((await this.#sizeOf(target)) !== undefined) return true;
    const { code } = await this.#client.sendIgnoringError(`CWD ${target}`);
    return code < 400;
  }

  /** Bytes of a file; undefined when there is none or the server does not tell. */
  async #sizeOf(target: string): Promise<number | undefined> {
    const { code, message } = await this.#client.sendIgnoringError(`SIZE ${target}`);
    const size = Number.parseInt(message.slice(4), 10);
    return code === 213 && Number.isSafeInteger(size) ? size : undefined;
  }

  async #replace(temporary: string, target: string, overwrite: boolean): Promise<void> {
    try {
      await this.#client.rename(temporary, target);
    } catch (error) {
      if (!overwrite || !(error instanceof FTPError)) throw error;
      // A server that has removed what it took, for a quota or as a scanner, keeps what was there.
      const isKnown = (await this.#sizeOf(target)) !== undefined;
      if (isKnown && (await this.#sizeOf(temporary)) === undefined) throw error;
      // Servers of Windows do not rename over a file that is there: it steps aside, and comes back if need be.
      const aside = asideName(temporary);
      const { code } = await this.#client.sendIgnoringError(`RNFR ${target}`);
      if (code >= 400) throw error;
      await this.#client.send(`RNTO ${aside}`);
      try {
        await this.#client.rename(temporary, target);
      } catch (failure) {
        await this.#client.rename(aside, target);
        throw failure;
      }
      await this.#client.sendIgnoringError(`DELE ${aside}`);
    }
  }

  /** A server that refuses a transfer often resets the data connection first: its reply says why. */
  async #transfer<T>(work: () => Promise<T>): Promise<T> {
    this.#refusal = undefined;
    try {
      return await work();
    } catch (error) {
      if (error instanceof FTPError || error instanceof AppError || this.#client.closed) throw error;
      const deadline = performance.now() + replyPatienceMs;
      while (!this.#refusal && this.alive && performance.now() < deadline) await sleep(20);
      throw this.#refusal ?? error;
    }
  }

  #dataTls(): ConnectionOptions {
    const { host, tls } = this.#settings;
    const name = host.replace(/\.$/, '').replace(/^\[|\]$/g, '');
    return { minVersion: 'TLSv1.2', ...(isIP(name) ? {} : { servername: name }), ...tls, host: name };
  }

  /**
   * Opens a passive data connection. The server names a port; an address that it names is not dialled,
   * but that of the control connection, for a server could lead us anywhere by it.
   */
  async #openData(ftp: FTPContext): Promise<FTPResponse> {
    const { network } = this.#settings;
    const host = ftp.socket.remoteAddress;
    if (host === undefined) throw new AppError('connection_lost');
    const { response, port } = await this.#passivePort(ftp);
    const timeoutMs = this.#settings.timeoutMs;
    const socket = await network.connect({ host, port, timeoutMs, signal: this.#closing.signal });
    if (!this.alive) {
      socket.destroy();
      throw this.#ended ?? new AppError('connection_lost');
    }
    if (!(ftp.socket instanceof TLSSocket)) {
      this.#use(ftp, socket);
      return response;
    }
    // Servers begin the handshake only behind the command, so it cannot be awaited here. They may
    // demand that the session of the control connection is resumed: only its owner can do that.
    const session = ftp.tlsSessionStore ?? ftp.socket.getSession();
    const secured = connectTls({ ...ftp.tlsOptions, socket, ...(session ? { session } : {}) });
    // A ticket of TLS 1.3 is good for one connection; the next one comes over this.
    secured.on('session', (ticket) => {
      ftp.tlsSessionStore = ticket;
    });
    // basic-ftp takes a known cipher for a finished handshake, but a session that is resumed knows its
    // own from the start: a short file would be sent, and the connection ended, before the handshake.
    secured.getCipher = (() => undefined) as never;
    secured.prependOnceListener('secureConnect', () => {
      delete (secured as Partial<TLSSocket>).getCipher;
    });
    this.#use(ftp, secured);
    secured.once('close', () => socket.destroy());
    return response;
  }

  /** Takes a data connection. Its failure does not end the session before the server could say why. */
  #use(ftp: FTPContext, socket: Socket): void {
    ftp.dataSocket = socket;
    socket.removeAllListeners('error').removeAllListeners('close');
    const onEnd = (error?: unknown) => {
      if (!(error instanceof Error)) return;
      const timer = setTimeout(() => {
        if (ftp.dataSocket === socket) ftp.closeWithError(error);
      }, replyPatienceMs + 500);
      this.#closing.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
    };
    socket.on('error', onEnd);
  }

  async #passivePort(ftp: FTPContext): Promise<{ response: FTPResponse; port: number }> {
    if (this.#supportsEpsv) {
      const response = await this.#client.sendIgnoringError('EPSV');
      const port = Number(/\((.)\1\1(\d{1,5})\1\)/.exec(response.message)?.[2]);
      if (response.code === 229 && port > 0 && port < 65536) return { response, port };
      this.#supportsEpsv = false;
    }
    const response = await ftp.request('PASV');
    const numbers = /(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})/.exec(response.message);
    const port = Number(numbers?.[5]) * 256 + Number(numbers?.[6]);
    if (!(port > 0 && port < 65536))
      throw new AppError(
        'protocol_error',
        `The server's answer to PASV is not understood: ${response.message}`,
      );
    return { response, port };
  }

  /** Hands the socket to the client and waits for the greeting; what is none is recognised at once. */
  async #greet(signal: AbortSignal): Promise<void> {
    const socket = this.#socket;
    const greeting = await this.#run(signal, () => {
      let seen = '';
      const watch = (chunk: Buffer | string) => {
        seen += chunk.toString();
        if (seen.length >= 4 || !/^\d*$/.test(seen)) {
          socket.off('data', watch);
          if (!/^\d{3}[ -]/.test(seen)) {
            this.#ended = notFtp();
            this.destroy();
          }
        }
      };
      socket.on('data', watch);
      this.#client.ftp.socket = socket;
      return this.#client.ftp.handle(undefined, (response, task) => {
        if (response instanceof Error) task.reject(response);
        else if (response.code >= 200 && response.code < 300) task.resolve(response);
        // 120 tells how long it will take; the real one follows.
        else if (response.code >= 300) task.reject(notFtp());
      }) as Promise<FTPResponse>;
    });
    this.#greeting = greeting.message.trim();
  }

  /** Runs commands of the client; an abort ends the session. */
  #run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        reject(abortError(signal.reason));
        this.destroy();
      };
      if (signal.aborted) return onAbort();
      if (this.#ended) return reject(this.#ended);
      signal.addEventListener('abort', onAbort, { once: true });
      (async () => work())()
        .then(resolve, (error: unknown) => {
          // A refusal leaves the session usable; anything else does not.
          if (!(error instanceof FTPError) && !(error instanceof AppError && this.alive)) this.destroy();
          reject(
            this.#ended && !(error instanceof AppError) && !(error instanceof FTPError)
              ? this.#reason(error)
              : error,
          );
        })
        .finally(() => signal.removeEventListener('abort', onAbort));
    });
  }

  #reason(error: unknown): unknown {
    return this.#ended?.code === 'protocol_error' ? this.#ended : error;
  }

  #end(): void {
    this.#ended ??= new AppError('connection_lost', 'The server closed the connection');
    this.#closing.abort(this.#ended);
    this.#client.close();
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

function notFtp(): AppError {
  return new AppError('protocol_error', 'The server does not speak FTP here', {
    details: { hint: 'Check the port: 21 for FTP and explicit TLS, 990 for implicit TLS, 22 for SFTP.' },
  });
}

/** How long a reply may come behind the end of its data connection. */
const replyPatienceMs = 3_000;
const sliceBytes = 64 * 1024;

/**
 * A stream of ours that does not fail with the data connection that it is joined to: basic-ftp would end the
 * session for it, before the server could say why.
 */
function withoutOthersFailure<S extends Readable | Writable>(stream: S): S {
  stream._destroy = (error, done) => done(error instanceof AppError ? error : null);
  return stream;
}

async function* slices(bytes: Buffer): AsyncGenerator<Buffer> {
  // A TLS connection that is ended within the callback of its handshake says no goodbye, and an empty
  // file would arrive as a broken one.
  await new Promise((resolve) => setImmediate(resolve));
  for (let at = 0; at < bytes.length; at += sliceBytes) yield bytes.subarray(at, at + sliceBytes);
}

const kinds: Record<number, Entry['type']> = { 1: 'file', 2: 'directory', 3: 'symlink' };

function toEntry({ name, type, size, modifiedAt, permissions }: FileInfo): Entry {
  return {
    name,
    type: kinds[type] ?? 'other',
    size: type === 1 ? size : null,
    modifiedAt: modifiedAt?.toISOString() ?? null,
    ...(permissions
      ? { permissions: permissionsOf((permissions.user << 6) | (permissions.group << 3) | permissions.world) }
      : {}),
  };
}
