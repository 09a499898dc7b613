import type { InputOf, OutputOf } from '../../contract/connection-type.ts';
import type { PooledSession } from '../transport/session-pool.ts';
import type { ftp } from './ftp.definition.ts';

type Operations = (typeof ftp)['operations'];
export type ListOutput = OutputOf<Operations['list']>;
export type Entry = ListOutput['entries'][number];
export type UploadInput = InputOf<Operations['upload']>;

/** What FTP and SFTP have in common. Paths are relative, normalised, below the working directory. */
export interface FileSession extends PooledSession {
  list(path: string, maxEntries: number, signal: AbortSignal): Promise<ListOutput>;
  /** Path of the temporary file of an upload that this session ended without removing. */
  readonly leftover: string | undefined;
  exists(path: string, signal: AbortSignal): Promise<boolean>;
  /** Writes under a temporary name, then renames. */
  upload(
    path: string,
    content: Buffer,
    options: { overwrite: boolean; makeDirectories: boolean },
    signal: AbortSignal,
  ): Promise<void>;
  /** Fails with `message_too_large` beyond `maxBytes`. */
  download(path: string, maxBytes: number, signal: AbortSignal): Promise<Buffer>;
  delete(path: string, isDirectory: boolean, signal: AbortSignal): Promise<void>;
  rename(from: string, to: string, signal: AbortSignal): Promise<void>;
  makeDirectory(path: string, parents: boolean, signal: AbortSignal): Promise<void>;
  /** One harmless request; answers what it told. */
  prove(signal: AbortSignal): Promise<string>;
}

/** Where the target of an upload waits while the new file takes its place; known by the upload's temporary name. */
export function asideName(temporary: string): string {
  return `${temporary}.before`;
}
