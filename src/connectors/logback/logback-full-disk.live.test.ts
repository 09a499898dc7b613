import assert from 'node:assert/strict';
import { readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { mountSmallDisk } from '../../../test/services/small-disk.ts';
import { parseConnection } from '../../contract/validation.ts';
import type { AppError } from '../../errors.ts';
import { logbackConnector } from './logback.connector.ts';
import { logback } from './logback.definition.ts';

const diskBytes = 1024 ** 2;
const ballastBytes = 512 * 1024;

test('on a full disk a call is written whole or not at all, and the next one when there is room again', async (t) => {
  const disk = await startOrSkip(t, () => mountSmallDisk(diskBytes));
  if (!disk) return;
  t.after(() => disk.stop());
  const ballast = join(disk.path, 'ballast');
  await writeFile(ballast, Buffer.alloc(ballastBytes));
  const parsed = parseConnection(logback, {
    type: 'logback',
    name: 'full',
    logPath: disk.path,
    logPattern: '%msg%n',
  });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  const ctx = createContext({ signal: new AbortController().signal, logRoots: [disk.path] });
  const live = await logbackConnector.open(parsed.config as never, ctx);
  t.after(() => logbackConnector.close(live));

  let calls = 0;
  const taken: string[] = [];
  /** One call of as many lines; answers what it failed with. */
  const log = async (lines: number): Promise<AppError | undefined> => {
    calls++;
    const messages = Array.from({ length: lines }, (_, line) => ({
      message: `call ${calls} line ${line} ${'x'.repeat(80)}`,
    }));
    try {
      const call = { signal: AbortSignal.timeout(30_000) };
      await logbackConnector.operations.log(live, { messages }, call);
    } catch (error) {
      return logbackConnector.classify(error);
    }
    taken.push(...messages.map(({ message }) => message));
    return undefined;
  };
  const written = async () => (await readFile(live.lines.activePath, 'utf8')).split('\n').slice(0, -1);

  const failed = async (lines: number) => {
    let failure: AppError | undefined;
    while (!failure) failure = await log(lines);
    assert.deepEqual([failure.code, failure.retryable], ['quota_exceeded', true], failure.message);
    assert.match(failure.message, /disk is full/);
    assert.deepEqual(await written(), taken);
  };

  // Written in place, and beyond what that is for by a thread: both have to be taken back.
  await failed(1);
  await assert.rejects(
    logbackConnector.prove(live, { signal: AbortSignal.timeout(30_000) }),
    (error) => logbackConnector.classify(error).code === 'quota_exceeded',
  );
  await unlink(ballast);
  assert.equal(await log(1), undefined);
  assert.deepEqual(await written(), taken);
  await failed(3000);
});
