import { AppError } from './errors.ts';

const causesMax = 5;
/** One line of a stack that names a place in a file; never a line of a message that looks like one. */
const frame = /^ {4}at (?:[^()\n]{1,200} \()?(?:file:\/\/|node:|\/)[^\s()]{1,500}:\d+:\d+\)?$/;

/** An error as it may stand in a log. */
export interface LoggableError {
  type: string;
  code?: string | number;
  /** Of ours alone. */
  message?: string;
  /** Places, innermost first. */
  stack: string[];
  cause?: LoggableError;
}

/**
 * What of an error is fit for a log: its name and code, where it arose, and the same of up to five
 * causes. A message is kept only where it is ours: a parser's or a driver's may quote a body, a
 * statement or a secret.
 */
export function loggableError(error: unknown, causesLeft: number = causesMax): LoggableError {
  if (!(error instanceof Error)) return { type: typeof error, stack: [] };
  const { name, cause } = error;
  const { code } = error as { code?: unknown };
  return {
    type: isWord(name) ? name : 'Error',
    ...(isCode(code) ? { code } : {}),
    ...(error instanceof AppError ? { message: error.message } : {}),
    stack: framesOf(error),
    ...(cause === undefined || causesLeft === 0 ? {} : { cause: loggableError(cause, causesLeft - 1) }),
  };
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Za-z_]\w{0,63}$/.test(value);
}

/** As in `ECONNREFUSED`, or a SQLSTATE. */
function isCode(value: unknown): value is string | number {
  return (
    isWord(value) || typeof value === 'number' || (typeof value === 'string' && /^[0-9A-Z]{5}$/.test(value))
  );
}

function framesOf({ stack, message }: Error): string[] {
  if (typeof stack !== 'string' || typeof message !== 'string') return [];
  // The stack begins with the message as it was when the error was made.
  const at = stack.indexOf(message);
  if (at < 0) return [];
  return stack
    .slice(at + message.length)
    .split('\n')
    .filter((line) => frame.test(line))
    .map((line) => line.slice(7));
}
