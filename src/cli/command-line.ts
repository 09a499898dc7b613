import { parseArgs } from 'node:util';

export interface Command {
  /** Words before the options, such as `token create`. */
  words: string;
  /** Positional arguments, as help shows them. */
  arguments: readonly string[];
  summary: string;
  options?: Readonly<Record<string, Option>>;
  examples?: readonly string[];
}

export interface Option {
  description: string;
  /** Name of the value; absent: a switch. */
  value?: string;
  multiple?: boolean;
}

/** How the command was called was wrong; exit code 2. */
export class UsageError extends Error {}

export const commonOptions: Readonly<Record<string, Option>> = {
  url: { value: 'URL', description: 'The control plane; default $PLUGBOARD_URL or http://127.0.0.1:8080.' },
  'token-file': {
    value: 'FILE',
    description:
      'Holds the token; default $PLUGBOARD_TOKEN, else the admin-token file of a local control plane.',
  },
  json: { description: "Prints the API's answer as JSON." },
  help: { description: 'Shows help.' },
};

export interface Parsed {
  positionals: string[];
  text(name: string): string | undefined;
  texts(name: string): string[];
  has(name: string): boolean;
}

/** Reads a command's arguments; throws `UsageError` for what it does not know or misses. */
export function parseCommand(command: Command, args: string[]): Parsed {
  const options = { ...commonOptions, ...command.options };
  const config = Object.fromEntries(
    Object.entries(options).map(([name, { value, multiple }]) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const), multiple: multiple ?? false },
    ]),
  );
  let result: { values: Record<string, unknown>; positionals: string[] };
  try {
    result = parseArgs({ args, options: config, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split(/\. To specify|\n/)[0]!);
  }
  const { values, positionals } = result;
  if (values['help'] !== true && positionals.length !== command.arguments.length)
    throw new UsageError(
      positionals.length < command.arguments.length
        ? `${command.arguments[positionals.length]} is missing`
        : `unexpected argument '${positionals[command.arguments.length]}'`,
    );
  return {
    positionals,
    text: (name) => values[name] as string | undefined,
    texts: (name) => (values[name] as string[] | undefined) ?? [],
    has: (name) => values[name] === true,
  };
}

/** Help of one command. */
export function commandHelp(command: Command): string {
  const usage = ['plugboard', command.words, ...command.arguments, '[options]'].join(' ');
  const lines = [`Usage: ${usage}`, '', command.summary, '', 'Options:'];
  for (const [name, option] of Object.entries({ ...command.options, ...commonOptions }))
    lines.push(
      `  ${`--${name}${option.value ? ` ${option.value}` : ''}`.padEnd(26)} ${option.description}${option.multiple ? ' May be repeated.' : ''}`,
    );
  if (command.examples) lines.push('', 'Examples:', ...command.examples.map((example) => `  ${example}`));
  return `${lines.join('\n')}\n`;
}
