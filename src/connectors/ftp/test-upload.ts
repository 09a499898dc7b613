import assert from 'node:assert/strict';
import { ftpConnector } from './ftp.connector.ts';

type LiveFtp = Awaited<ReturnType<typeof ftpConnector.open>>;

/** Uploads so many bytes over whatever is there; for tests. */
export function upload(live: LiveFtp, path: string, bytes: number): Promise<unknown> {
  return ftpConnector.operations.upload(
    live,
    { path, content: 'x'.repeat(bytes), encoding: 'utf8', overwrite: true },
    { signal: AbortSignal.timeout(60_000) },
  );
}

/** Asserts that a server without room for so many bytes is told as such. */
export async function rejectsForQuota(
  live: LiveFtp,
  path: string,
  bytes: number,
  said: RegExp = /./,
): Promise<void> {
  await assert.rejects(upload(live, path, bytes), (error) => {
    const { code, retryable, message } = ftpConnector.classify(error);
    assert.deepEqual([code, retryable], ['quota_exceeded', true], message);
    assert.match(message, said);
    return true;
  });
}
