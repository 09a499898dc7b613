import { createReadStream, fstatSync, ftruncateSync, writeSync } from 'node:fs';
import { type FileHandle, open, readdir, realpath, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { createGzip } from 'node:zlib';
import type { FileNamePattern } from './file-name-pattern.ts';
import { makeDirectory, openForAppend, rootAbove } from './log-directory.ts';

export interface RollingFileOptions {
  pattern: FileNamePattern;
  roots: readonly string[];
  maxFileBytes: number;
  /** Periods; 0: all files are kept, whatever `totalBytes` says. */
  maxHistory: number;
  /** 0: no limit. */
  totalBytes: number;
  /** ms since 1970, by which files roll. */
  now: () => number;
  onCleanFailure: (error: unknown) => void;
}

/** How far back the first cleaning looks beyond the history: 32 days, and at most 336 periods. */
const inactivityMs = 32 * 86_400_000;
const maxInactivityPeriods = 14 * 24;
const maxParentLevels = 3;
const roundsPerBreath = 500;

/**
 * File systems of the machine itself, as statfs(2) numbers them: ext, xfs, btrfs, tmpfs, overlay, f2fs, zfs.
 * Over a network a write may hang for ever, and with it whoever waits for it in place.
 */
const localFileSystems = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0xf2f52010, 0x2fc12fc1,
]);
/** Most characters that are written in place: about 0.1 ms. */
const maxCharsNow = 256 * 1024;
const maxBytesPerChar = 3;
/** A write in place that took longer than this, ms, is a sign of a busy disk, … */
const slowWriteMs = 50;
/** … which is left to the threads of the pool for so long, ms: twice as long each time that it soon happens again. */
const slowForMs = { first: 100, longest: 10_000 };

/** For what is written in place, one for all files: made anew it would cost as much as the write. */
let spare: Buffer | undefined;

interface ActiveFile {
  path: string;
  handle: FileHandle;
  isLocal: boolean;
}

/**
 * Lines in files that roll by date and size, as Logback's RollingFileAppender with a
 * SizeAndTimeBasedRollingPolicy and no `file` writes them. One call at a time.
 */
export class RollingFile {
  readonly #options: RollingFileOptions;
  #active: ActiveFile | undefined;
  /** An instant of the period that is written. */
  #periodMs = 0;
  #index = 0;
  #nextCheckMs: number | undefined;
  #bytes = 0;
  #lastCleanMs: number | undefined;
  #isTorn = false;
  /** By `performance.now()`. */
  #slowUntil = 0;
  #slowForMs = slowForMs.first;

  constructor(options: RollingFileOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#active !== undefined;
  }

  /** Whether the last call that failed may have left something of itself. */
  get isTorn(): boolean {
    return this.#isTorn;
  }

  /** The file that a line would go into now. */
  get activePath(): string {
    const { pattern, now } = this.#options;
    return pattern.activeName(this.#nextCheckMs === undefined ? now() : this.#periodMs, this.#index);
  }

  /**
   * Appends groups of well-formed lines in order, one write for each file; when a write fails, all that
   * was written is taken back. Answers the file of each group's last line.
   */
  async append(groups: readonly (readonly string[])[]): Promise<string[]> {
    const written: Written[] = [];
    const rolled: ActiveFile[] = [];
    const paths: string[] = [];
    let pending = '';
    const flush = async () => {
      if (pending === '') return;
      const file = await this.#open();
      const entry = { handle: file.handle, bytes: 0 };
      written.push(entry);
      await writeAll(entry, Buffer.from(pending));
      pending = '';
    };
    const before = { periodMs: this.#periodMs, index: this.#index, nextCheckMs: this.#nextCheckMs };
    try {
      await this.#open();
      for (const lines of groups) {
        for (const line of lines) {
          const nowMs = this.#options.now();
          const isOver = nowMs >= this.#nextCheckMs!;
          if (isOver || this.#bytes >= this.#options.maxFileBytes) {
            await flush();
            rolled.push(await this.#open());
            this.#active = undefined;
            if (isOver) this.#beginPeriod(nowMs);
            else this.#index++;
            this.#bytes = 0;
            await this.#open(true);
          }
          pending += line;
          this.#bytes += Buffer.byteLength(line);
        }
        paths.push(this.#active!.path);
      }
      await flush();
    } catch (error) {
      this.#isTorn = false;
      for (const entry of written)
        await takeBack(entry).catch((failure) => {
          this.#isTorn = true;
          this.#options.onCleanFailure(failure);
        });
      for (const { handle } of rolled) await handle.close().catch(() => {});
      await this.close();
      this.#periodMs = before.periodMs;
      this.#index = before.index;
      this.#nextCheckMs = before.nextCheckMs;
      throw error;
    }
    for (const file of rolled) {
      await file.handle.close();
      if (this.#options.pattern.isCompressed) await compress(file.path).catch(this.#options.onCleanFailure);
    }
    if (rolled.length > 0 && this.#options.maxHistory > 0)
      await this.#clean(this.#options.now()).catch(this.#options.onCleanFailure);
    return paths;
  }

  /**
   * `append` in place, for which Logback's own appender is the model: a few lines into the system's cache
   * cost less than to have a thread write them. Answers the one file; undefined, and nothing written: where a
   * file has to be opened or rolled, the disk is not of this machine or was slow a moment ago, or the write
   * has failed.
   */
  appendNow(groups: readonly { readonly lines: readonly string[] }[]): string | undefined {
    const active = this.#active;
    const startedAt = performance.now();
    if (!active?.isLocal || startedAt < this.#slowUntil || this.#options.now() >= this.#nextCheckMs!)
      return undefined;
    let text = '';
    for (const { lines } of groups) for (const line of lines) text += line;
    if (text.length > maxCharsNow) return undefined;
    spare ??= Buffer.allocUnsafeSlow(maxCharsNow * maxBytesPerChar);
    const length = spare.write(text);
    // Somewhere within it the file could become full.
    if (this.#bytes + length >= this.#options.maxFileBytes) return undefined;
    const { fd } = active.handle;
    let written = 0;
    try {
      written = writeSync(fd, spare, 0, length);
    } catch {
      return undefined;
    }
    if (written < length) {
      try {
        ftruncateSync(fd, fstatSync(fd).size - written);
      } catch (error) {
        this.#isTorn = true;
        throw error;
      }
      return undefined;
    }
    this.#bytes += length;
    const endedAt = performance.now();
    if (endedAt - startedAt > slowWriteMs) {
      const isAgain = startedAt - this.#slowUntil < this.#slowForMs;
      this.#slowForMs = isAgain ? Math.min(this.#slowForMs * 2, slowForMs.longest) : slowForMs.first;
      this.#slowUntil = endedAt + this.#slowForMs;
    }
    return active.path;
  }

  async close(): Promise<void> {
    const active = this.#active;
    this.#active = undefined;
    await active?.handle.close();
  }

  #beginPeriod(nowMs: number): void {
    this.#periodMs = nowMs;
    this.#index = 0;
    this.#nextCheckMs = this.#options.pattern.startOfPeriod(nowMs, 1);
  }

  /** `isRolled`: the length starts at 0 whatever the file holds, as in Logback. */
  async #open(isRolled = false): Promise<ActiveFile> {
    if (this.#active) return this.#active;
    const { pattern, roots, now } = this.#options;
    if (this.#nextCheckMs === undefined) {
      const nowMs = now();
      await makeDirectory(pattern.activeName(nowMs, 0), roots);
      const highest = await highestIndex(pattern, nowMs);
      this.#beginPeriod(nowMs);
      this.#index = highest === undefined ? 0 : highest + (pattern.isCompressed ? 1 : 0);
    }
    const path = this.activePath;
    const handle = await openForAppend(path, roots);
    const { type } = await statfs(dirname(path));
    this.#active = { path, handle, isLocal: localFileSystems.has(type) };
    if (!isRolled) this.#bytes = (await handle.stat()).size;
    return this.#active;
  }

  async #clean(nowMs: number): Promise<void> {
    const { pattern, maxHistory, totalBytes } = this.#options;
    const directories = new Map<string, string[]>();
    const filesIn = async (directory: string) => {
      const known = directories.get(directory);
      if (known) return known;
      const names = await readdir(directory).catch(() => []);
      directories.set(directory, names);
      return names;
    };
    let rounds = 0;
    const filesOf = async (periodsAgo: number) => {
      if (++rounds % roundsPerBreath === 0) await breathe();
      const { directory, indexOf } = pattern.matcher(pattern.startOfPeriod(nowMs, -periodsAgo));
      const files = (await filesIn(directory)).flatMap((name) => {
        const index = indexOf(name);
        return index === undefined ? [] : [{ path: join(directory, name), index }];
      });
      return files.filter(({ path }) => path !== this.#active?.path);
    };

    const elapsed =
      this.#lastCleanMs === undefined
        ? Math.min(pattern.periodsBetween(nowMs, nowMs + inactivityMs), maxInactivityPeriods)
        : pattern.periodsBetween(this.#lastCleanMs, nowMs);
    this.#lastCleanMs = nowMs;
    for (let round = 0; round < elapsed; round++) {
      const files = await filesOf(maxHistory + 1 + round);
      for (const { path } of files) await unlink(path).catch(this.#options.onCleanFailure);
      if (files[0] && pattern.hasDirectories) await this.#removeEmpty(dirname(files[0].path));
    }

    if (totalBytes === 0) return;
    directories.clear();
    let total = 0;
    for (let periodsAgo = 0; periodsAgo < maxHistory; periodsAgo++) {
      const files = await filesOf(periodsAgo);
      files.sort((a, b) => b.index - a.index);
      if (periodsAgo === 0 && this.#active) total += (await this.#active.handle.stat()).size;
      for (const { path } of files) {
        total += await stat(path).then(
          ({ size }) => size,
          () => 0,
        );
        if (total > totalBytes) await unlink(path).catch(this.#options.onCleanFailure);
      }
    }
  }

  /** Removes the directory where it is empty, and up to two above it, but no root. */
  async #removeEmpty(directory: string): Promise<void> {
    let at = await realpath(directory);
    for (let level = 0; level < maxParentLevels; level++) {
      if (!(await rootAbove(at, this.#options.roots))) return;
      try {
        await rmdir(at);
      } catch {
        return;
      }
      at = dirname(at);
    }
  }
}

async function highestIndex(pattern: FileNamePattern, nowMs: number): Promise<number | undefined> {
  const { directory, indexOf } = pattern.matcher(nowMs);
  const indexes = (await readdir(directory)).flatMap((name) => indexOf(name) ?? []);
  return indexes.length === 0 ? undefined : indexes.reduce((a, b) => Math.max(a, b));
}

/** What a call has written to the end of a file. */
interface Written {
  handle: FileHandle;
  bytes: number;
}

async function writeAll(written: Written, bytes: Buffer): Promise<void> {
  while (written.bytes < bytes.length) {
    const { bytesWritten } = await written.handle.write(bytes, written.bytes);
    written.bytes += bytesWritten;
  }
}

async function takeBack({ handle, bytes }: Written): Promise<void> {
  if (bytes > 0) await handle.truncate((await handle.stat()).size - bytes);
}

/** Puts `.gz` beside the file and removes it; what is there already is left alone. */
async function compress(path: string): Promise<void> {
  const target = await open(`${path}.gz`, 'wx');
  await pipeline(createReadStream(path), createGzip(), target.createWriteStream());
  await unlink(path);
}
