import { randomUUID } from 'node:crypto';
import { statfs, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { itemsOf } from '../../contract/one-or-many.ts';
import { AppError, type ErrorCode } from '../../errors.ts';
import { type ConnectorContext, defineConnector } from '../connector.ts';
import { Zone } from './date-pattern.ts';
import { FileNamePattern } from './file-name-pattern.ts';
import { LineQueue } from './line-queue.ts';
import { makeDirectory, openForAppend } from './log-directory.ts';
import { filePattern, logback } from './logback.definition.ts';
import { compileLayout, type LogEvent, type LogItem, wellFormedLine } from './pattern-layout.ts';
import { RollingFile } from './rolling-file.ts';

interface LiveLogback {
  readonly lines: LineQueue;
  readonly roots: readonly string[];
  layout(event: LogEvent): string;
}

const bytesPerMegabyte = 1024 ** 2;
const bytesPerGigabyte = 1024 ** 3;

/** Writes lines into rolling files on the worker, as Logback does. */
export const logbackConnector = defineConnector<typeof logback, LiveLogback>(logback, {
  async open(config, ctx) {
    const live = openLive(config, ctx);
    await makeDirectory(live.lines.activePath, live.roots);
    return live;
  },

  async prove(live, { signal }) {
    live.lines.throwIfClosed();
    signal.throwIfAborted();
    const { probe } = await probeDirectory(live);
    await probe();
  },

  async test(config, stages, ctx) {
    for (const stage of ['resolve', 'connect', 'tls', 'authenticate'] as const)
      stages.skip(stage, "the files lie on the worker's own disk");
    const live = openLive(config, ctx);
    await stages.run('operate', async (note) => {
      const { directory, probe } = await probeDirectory(live);
      await probe();
      const { bavail, bsize } = await statfs(directory);
      const free = ((bavail * bsize) / bytesPerGigabyte).toFixed(1);
      note.detail(
        `a file was written and removed; lines go to ${live.lines.activePath}, ${free} GB are free`,
      );
    });
  },

  operations: {
    log(live, input, context) {
      const nowMs = Date.now();
      const lines = itemsOf<LogItem>(input).map((item) => {
        const event = item.timestampMs === undefined ? eventAt(nowMs, item) : (item as LogEvent);
        return wellFormedLine(live.layout(event));
      });
      return live.lines.append(lines, context);
    },
  },

  figures: ({ lines }) => lines.figures,

  close: (live) => live.lines.close(),

  classify,
});

/** Field by field, so that all events are of one form, which the layout reads fastest. */
function eventAt(timestampMs: number, item: LogItem): LogEvent {
  const { message, level, logger, thread, mdc, exception } = item;
  return { message, level, logger, thread, mdc, exception, timestampMs };
}

function openLive(config: ConfigOf<typeof logback>, ctx: ConnectorContext): LiveLogback {
  const zone = Zone.system();
  const { maxFileSize, maxHistory, totalSizeCap } = config;
  if (totalSizeCap > 0 && maxHistory === 0)
    ctx.warn('totalSizeCap: has no effect without maxHistory, as in Logback');
  const layout = readable('logPattern', () => compileLayout(config.logPattern, zone));
  const pattern = readable(
    'logFilenamePattern',
    () => new FileNamePattern(filePattern(config, hostname()), zone),
  );
  return {
    layout,
    roots: ctx.logRoots,
    lines: new LineQueue(
      new RollingFile({
        pattern,
        roots: ctx.logRoots,
        maxFileBytes: maxFileSize * bytesPerMegabyte,
        maxHistory,
        totalBytes: totalSizeCap * bytesPerGigabyte,
        now: Date.now,
        onCleanFailure: (error) => ctx.log.warn({ err: error }, 'an old log file could not be put away'),
      }),
    ),
  };
}

function readable<T>(field: string, compile: () => T): T {
  try {
    return compile();
  } catch (error) {
    throw new AppError('invalid_configuration', `${field}: ${(error as Error).message}`, { cause: error });
  }
}

/** A file of its own in the directory of the log, so that nothing of it gets into the log. */
async function probeDirectory(live: LiveLogback): Promise<{ directory: string; probe(): Promise<void> }> {
  const wanted = live.lines.activePath;
  const directory = await makeDirectory(wanted, live.roots);
  const name = `.plugboard-${randomUUID()}`;
  return {
    directory,
    async probe() {
      const handle = await openForAppend(join(dirname(wanted), name), live.roots);
      try {
        await handle.write('plugboard connection test\n');
      } finally {
        await handle.close();
        await unlink(join(directory, name));
      }
    },
  };
}

const codes: Record<string, { code: ErrorCode; said: string }> = {
  EACCES: { code: 'permission_denied', said: 'The worker may not write there' },
  EPERM: { code: 'permission_denied', said: 'The worker may not write there' },
  EROFS: { code: 'permission_denied', said: 'The file system is read-only' },
  ENOSPC: { code: 'quota_exceeded', said: 'The disk is full' },
  EDQUOT: { code: 'quota_exceeded', said: 'The disk quota is used up' },
  EFBIG: { code: 'quota_exceeded', said: 'The file is larger than the system allows' },
  EMFILE: { code: 'target_busy', said: 'The worker has too many open files' },
  ENFILE: { code: 'target_busy', said: 'The system has too many open files' },
  ELOOP: { code: 'invalid_configuration', said: 'A link stands in place of the log file' },
  ENOTDIR: { code: 'invalid_configuration', said: 'A part of the path is not a directory' },
  EISDIR: { code: 'invalid_configuration', said: 'A directory stands in place of the log file' },
  ENXIO: { code: 'invalid_configuration', said: 'A pipe or device stands in place of the log file' },
  ENAMETOOLONG: { code: 'invalid_configuration', said: 'The path is too long' },
};

function classify(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  if (name === 'TimeoutError') return new AppError('target_timeout', undefined, { cause: error });
  if (name === 'AbortError') return new AppError('cancelled', undefined, { cause: error });
  const known = codes[String(code)];
  if (known) return new AppError(known.code, known.said, { cause: error });
  return new AppError('target_error', `The file could not be written: ${String(code ?? error)}`, {
    cause: error,
  });
}
