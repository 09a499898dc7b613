import { type FSWatcher, watch } from 'node:fs';
import { constants, open, realpath } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { AppError } from '../../errors.ts';
import type { SecretRule } from './secret-policy.ts';

const maxBytes = 64 * 1024;
const settleMs = 100;

/** Secrets in files, as container platforms mount them, and word of their changes. */
export class SecretFiles {
  readonly #onChange: () => void;
  readonly #watchers = new Map<string, { watcher: FSWatcher | undefined; usedAt: number }>();
  #settling: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** `onChange` is called a moment after something changed beside a file that was read. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /**
   * The text of `/path` without the newline at its end; links may not lead out of the directory of the
   * rule that allows it. Fails with `missing_reference`, `invalid_configuration` or `unavailable`.
   */
  async read(path: string, rules: readonly SecretRule[]): Promise<string> {
    const asked = `/${path}`;
    this.#watch(dirname(asked));
    try {
      const real = await realpath(asked);
      if (!(await isInside(real, rules)))
        throw new AppError(
          'invalid_configuration',
          `file '${asked}' is a link that leads out of what is allowed`,
        );
      // What is read is what was checked: a link put in its place is not followed.
      await using file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const { size } = await file.stat().then((stat) => {
        if (!stat.isFile()) throw new AppError('invalid_configuration', `'${asked}' is no regular file`);
        return stat;
      });
      if (size > maxBytes)
        throw new AppError('invalid_configuration', `file '${asked}' is larger than ${maxBytes / 1024} KiB`);
      const buffer = Buffer.alloc(maxBytes + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      const text = new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, bytesRead));
      return text.replace(/\r?\n$/, '');
    } catch (error) {
      if (error instanceof AppError) throw error;
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ENOTDIR')
        throw new AppError('missing_reference', `there is no file '${asked}' on the worker`);
      if (error instanceof TypeError)
        throw new AppError('invalid_configuration', `file '${asked}' is no text`);
      throw new AppError('unavailable', `file '${asked}' cannot be read (${code ?? 'unknown'})`);
    }
  }

  /** Ends the watching of directories that no reference has asked for since `before`, ms since the epoch. */
  forget(before: number): void {
    for (const [directory, { watcher, usedAt }] of this.#watchers) {
      if (usedAt >= before) continue;
      watcher?.close();
      this.#watchers.delete(directory);
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#settling);
    this.forget(Number.POSITIVE_INFINITY);
  }

  /** A whole directory, because files are replaced by renaming, and mounts by switching a link. */
  #watch(directory: string): void {
    if (this.#isClosed) return;
    const known = this.#watchers.get(directory);
    const usedAt = Date.now();
    if (known?.watcher) {
      known.usedAt = usedAt;
      return;
    }
    let watcher: FSWatcher | undefined;
    try {
      watcher = watch(directory, { persistent: false }, () => this.#changed());
      // Where nothing can be watched, the regular check finds the change.
      watcher.on('error', () => {
        this.#watchers.delete(directory);
        watcher?.close();
      });
    } catch {
      watcher = undefined;
    }
    this.#watchers.set(directory, { watcher, usedAt });
  }

  #changed(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(this.#onChange, settleMs);
    this.#settling.unref();
  }
}

async function isInside(real: string, rules: readonly SecretRule[]): Promise<boolean> {
  for (const { prefix } of rules) {
    const directory = `/${prefix.slice('file/'.length)}`.replace(/[^/]*$/, '');
    const root = await realpath(directory).catch(() => undefined);
    if (root && (root === sep || real.startsWith(root + sep))) return true;
  }
  return false;
}
