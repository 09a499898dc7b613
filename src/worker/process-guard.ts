import type { Logger } from '../connectors/connector.ts';
import { loggableError } from '../loggable-error.ts';

/**
 * Keeps the process alive when a driver throws out of band (a socket error without a listener, a
 * rejected promise that nobody awaits): security.md 18. Everything caught is logged, so that bugs of
 * ours stay visible. `scrub` removes the secrets that the process holds; without it the text of the
 * error is not logged, only its class, code and stack frames. Returns a function that uninstalls it.
 */
export function installProcessGuard(log: Logger, scrub?: (text: string) => string): () => void {
  const recent = new Map<string, { since: number; suppressed: number }>();

  const report = (origin: string, error: unknown) => {
    const fields = { origin, ...describe(error, scrub) };
    const key = JSON.stringify(fields);
    // A socket that fails in a loop must not fill the disk by way of the log.
    const seen = recent.get(key);
    const now = Date.now();
    if (seen && now - seen.since < repeatMs) {
      seen.suppressed += 1;
      return;
    }
    if (recent.size >= 100) recent.clear();
    recent.set(key, { since: now, suppressed: 0 });
    log.error(
      seen?.suppressed ? { ...fields, suppressed: seen.suppressed } : fields,
      'an error that nobody handled was caught; the process goes on',
    );
  };

  // What is thrown here ends the process, and Node prints it with all that it says.
  const reportSafely = (origin: string, error: unknown) => {
    try {
      report(origin, error);
    } catch {
      try {
        log.error(
          { origin },
          'an error that nobody handled was caught and cannot be described; the process goes on',
        );
      } catch {}
    }
  };
  const onException = (error: unknown) => reportSafely('uncaughtException', error);
  const onRejection = (reason: unknown) => reportSafely('unhandledRejection', reason);
  process.on('uncaughtException', onException);
  process.on('unhandledRejection', onRejection);
  return () => {
    process.off('uncaughtException', onException);
    process.off('unhandledRejection', onRejection);
  };
}

const repeatMs = 10_000;

function describe(error: unknown, scrub: ((text: string) => string) | undefined): object {
  if (!(error instanceof Error)) return { thrown: typeof error };
  // A driver chooses its names and codes as well, and what looks like a frame may be a line of its text.
  const { type, code, stack } = loggableError(error);
  const text = scrub && scrubbed(error.message, scrub);
  return {
    name: type,
    ...(code === undefined ? {} : { code }),
    ...(text === undefined ? {} : { text: text.slice(0, 2000) }),
    stack: stack.slice(0, 20).join('\n'),
  };
}

function scrubbed(text: string, scrub: (text: string) => string): string | undefined {
  try {
    return scrub(text);
  } catch {
    return undefined;
  }
}
