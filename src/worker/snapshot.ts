import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DesiredConnection, UsageToken } from '../contract/worker-protocol.ts';

/** What a worker needs to serve without the control plane. */
export interface WorkerState {
  environment: string;
  cursor: { epoch: string; seq: number };
  items: DesiredConnection[];
  tokens: UsageToken[];
  /** When the control plane was last heard of, ms since the epoch. */
  heardAt: number;
}

const magic = Buffer.from('PLUGSNP1');
const saltLength = 16;
const ivLength = 12;
const tagLength = 16;

export class SnapshotUnusable extends Error {}

/**
 * The last desired state, sealed by AES-256-GCM under a key derived from the worker's credential
 * (HKDF-SHA256, a salt for each writing), so that the key never lies beside the file.
 */
export class SnapshotFile {
  readonly #path: string;
  readonly #credential: string;
  #writing: Promise<void> = Promise.resolve();
  #isRemoved = false;

  constructor(path: string, credential: string) {
    this.#path = path;
    this.#credential = credential;
  }

  /**
   * The stored state; undefined when there is none. Throws `SnapshotUnusable` when it is damaged, sealed
   * for another credential, or the control plane was last heard of more than `offlineMaxMs` ago.
   */
  async load(offlineMaxMs: number, now = Date.now()): Promise<WorkerState | undefined> {
    let sealed: Buffer;
    try {
      sealed = await readFile(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new SnapshotUnusable('the snapshot cannot be read', { cause: error });
    }
    const state = this.#open(sealed);
    // A clock that was set back must not prolong the time; a little difference between clocks is usual.
    if (state.heardAt > now + clockToleranceMs || now - state.heardAt > offlineMaxMs)
      throw new SnapshotUnusable('the snapshot is older than the worker may serve from it');
    return state;
  }

  /** Replaces the file as a whole, durable when it resolves; writings follow one another. */
  save(state: WorkerState): Promise<void> {
    const writing = this.#writing.then(() => (this.#isRemoved ? undefined : this.#write(state)));
    this.#writing = writing.catch(() => {});
    return writing;
  }

  /** Deletes the file; a later save makes it anew. */
  discard(): Promise<void> {
    const discarding = this.#writing.then(async () => {
      await rm(this.#path, { force: true });
      await rm(`${this.#path}.tmp`, { force: true });
    });
    this.#writing = discarding.catch(() => {});
    return discarding;
  }

  /** Deletes the file for good: nothing is written after. */
  async remove(): Promise<void> {
    this.#isRemoved = true;
    await this.discard();
  }

  #key(salt: Uint8Array): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#credential, salt, 'plugboard worker snapshot', 32));
  }

  #open(sealed: Buffer): WorkerState {
    const bodyAt = magic.length + saltLength + ivLength;
    if (sealed.length < bodyAt + tagLength || !sealed.subarray(0, magic.length).equals(magic))
      throw new SnapshotUnusable('the snapshot is damaged');
    const salt = sealed.subarray(magic.length, magic.length + saltLength);
    const iv = sealed.subarray(magic.length + saltLength, bodyAt);
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key(salt), iv, { authTagLength: tagLength });
      decipher.setAAD(magic);
      decipher.setAuthTag(sealed.subarray(-tagLength));
      const body = Buffer.concat([decipher.update(sealed.subarray(bodyAt, -tagLength)), decipher.final()]);
      return JSON.parse(body.toString()) as WorkerState;
    } catch (error) {
      throw new SnapshotUnusable('the snapshot is damaged or was sealed for another credential', {
        cause: error,
      });
    }
  }

  async #write(state: WorkerState): Promise<void> {
    const salt = randomBytes(saltLength);
    const iv = randomBytes(ivLength);
    const cipher = createCipheriv('aes-256-gcm', this.#key(salt), iv, { authTagLength: tagLength });
    cipher.setAAD(magic);
    const body = cipher.update(JSON.stringify(state));
    const sealed = Buffer.concat([magic, salt, iv, body, cipher.final(), cipher.getAuthTag()]);
    const directory = dirname(this.#path);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const temporary = `${this.#path}.tmp`;
    await rm(temporary, { force: true });
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(sealed);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.#path);
    // The new name is durable only with its directory.
    const handle = await open(directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

const clockToleranceMs = 5 * 60_000;
