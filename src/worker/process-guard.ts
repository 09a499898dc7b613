import type { Logger } from '../connectors/connector.ts';

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

  const onException = (error: unknown) => report('uncaughtException', error);
  const onRejection = (reason: unknown) => report('unhandledRejection', reason);
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
  const code = (error as { code?: unknown }).code;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return {
    name: error.name,
    ...(typeof code === 'string' ? { code } : {}),
    ...textOf(error, scrub),
    stack: frames.slice(0, 20).join('\n'),
  };
}

/** Nothing where it cannot be scrubbed: within the guard nothing may be thrown, and nothing be told. */
function textOf(error: Error, scrub: ((text: string) => string) | undefined): { text?: string } {
  try {
    return scrub ? { text: scrub(error.message).slice(0, 2000) } : {};
  } catch {
    return {};
  }
}
