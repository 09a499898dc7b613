import { AppError } from '../../errors.ts';
import type { RunInput } from './linux-script.definition.ts';

/** One word for a POSIX shell: nothing in it is expanded. Fails with `request_rejected` on U+0000. */
export function quote(text: string): string {
  if (text.includes('\0'))
    throw new AppError('request_rejected', 'U+0000 cannot be part of a command, an argument or a variable');
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * The command line that the server is given. It holds nothing of the input, so that whoever lists the
 * processes of the machine reads neither script nor variables: they come as the first line of
 * standard input. `marker` is printed to standard error with the process id, before anything runs.
 */
export function wrapper(marker: string): string {
  const shell = [
    `echo "${marker} $$" >&2`,
    // The built-in read takes a pipe byte by byte (POSIX), so what follows is left for the script.
    'IFS= read -r plugboard',
    `eval "unset plugboard; $(printf '%b' "$plugboard")"`,
  ].join('; ');
  return `exec /bin/sh -c ${quote(shell)} sh`;
}

/** The input as the one line that `wrapper` reads: what the shell runs, escaped for `printf %b`. */
export function firstLine({ script, command, args = [], environment = {} }: RunInput): Buffer {
  const variables = Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}; `);
  const body = script === undefined ? `exec ${[command ?? '', ...args].map(quote).join(' ')}` : script;
  if (body.includes('\0')) throw new AppError('request_rejected', 'U+0000 cannot be part of a script');
  const text = variables.join('') + body;
  return Buffer.from(`${text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`);
}

/** Kills the process group that a command runs in; the command need not lead it. */
export function killCommand(processId: number): string {
  return [
    `group=$(ps -o pgid= -p ${processId} | tr -d ' ')`,
    `kill -s KILL -- "-\${group:-${processId}}" 2>/dev/null || kill -s KILL ${processId}`,
  ].join('; ');
}
