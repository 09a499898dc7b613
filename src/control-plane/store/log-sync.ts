// The default import, so that a test can put a failing disk in its place.
import fs from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/**
 * Syncs the write-ahead log of SQLite by a descriptor of its own, in a thread of Node's pool: the main
 * thread goes on where a commit with `synchronous = full` would hold it until the disk has answered.
 */
export class LogSync {
  readonly #file: FileHandle;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** The file must exist, and be no other one for as long as this is open. */
  static async open(path: string): Promise<LogSync> {
    // Windows syncs only what may be written.
    return new LogSync(await open(path, 'r+'));
  }

  /** Whether a sync has failed: the kernel forgets what it could not write, so that none after it proves anything. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Resolves when what the file holds at the call is on the disk; one sync serves all that wait for the one before. */
  flush(): Promise<void> {
    if (!this.#running) return this.#sync();
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#sync();
    });
    return this.#next;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #sync(): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure.error);
    const running = new Promise<void>((resolve, reject) => {
      fs.fdatasync(this.#file.fd, (error) => {
        this.#running = undefined;
        if (!error) return resolve();
        this.#failure = { error };
        reject(error);
      });
    });
    this.#running = running;
    return running;
  }
}
