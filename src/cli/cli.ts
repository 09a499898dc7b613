import { readFile } from 'node:fs/promises';
import {
  Plugboard,
  PlugboardError,
  type TestEvent,
  type TestResult,
  type TestTarget,
} from '../../client/plugboard.ts';
import { clientConfig } from '../config.ts';
import { type Command, commandHelp, type Parsed, parseCommand, UsageError } from './command-line.ts';

/** Exit codes: 0 done · 1 Plugboard or the target refused · 2 wrong usage · 3 Plugboard does not answer. */
const exitCodes = { done: 0, failed: 1, usage: 2, unreachable: 3 } as const;

interface Output {
  out(text: string): void;
  err(text: string): void;
}

interface RunnableCommand extends Command {
  run(api: Plugboard, parsed: Parsed, print: Printer): Promise<number>;
}

interface Printer {
  /** The answer as JSON with --json, else the text for people. */
  answer(answer: unknown, text: string): void;
  /** Text for people, at once. */
  line(text: string): void;
}

const connection = 'PROJECT/NAME';

const commands: RunnableCommand[] = [
  {
    words: 'types',
    arguments: [],
    summary: 'Lists the connection types and their operations.',
    async run(api, _parsed, print) {
      const answer = await api.listTypes();
      const width = Math.max(...answer.resultList.map(({ type }) => type.length));
      print.answer(
        answer,
        answer.resultList
          .map(
            ({ type, summary, operations }) => `${type.padEnd(width)}  ${summary} [${operations.join(', ')}]`,
          )
          .join('\n'),
      );
      return exitCodes.done;
    },
  },
  {
    words: 'project create',
    arguments: ['NAME'],
    summary: 'Creates a project.',
    options: {
      description: { value: 'TEXT', description: 'What it is for.' },
      environment: {
        value: 'NAME',
        description: 'An environment of it; default production.',
        multiple: true,
      },
    },
    async run(api, parsed, print) {
      const [name] = parsed.positionals as [string];
      const environments = parsed.texts('environment');
      const description = parsed.text('description');
      const answer = await api.createProject({
        name,
        ...(description === undefined ? {} : { description }),
        ...(environments.length === 0 ? {} : { environments }),
      });
      print.answer(answer, `Project ${name} created.`);
      return exitCodes.done;
    },
  },
  {
    words: 'token create',
    arguments: ['NAME'],
    summary: 'Makes a token; it is printed once.',
    options: {
      project: { value: 'PROJECT', description: 'The project it is for, or *. Required.' },
      permission: {
        value: 'PERMISSION',
        description: 'Such as CONNECTIONS:VIEW, CONNECTIONS:USE, CONNECTIONS:MANAGE. Required.',
        multiple: true,
      },
      expires: { value: 'TIME', description: 'RFC 3339, such as 2027-01-01T00:00:00Z; default never.' },
    },
    examples: ['plugboard token create ci --project MyProject --permission CONNECTIONS:USE'],
    async run(api, parsed, print) {
      const [name] = parsed.positionals as [string];
      const project = parsed.text('project');
      const permissions = parsed.texts('permission');
      if (!project) throw new UsageError('--project is missing');
      if (permissions.length === 0) throw new UsageError('--permission is missing');
      const answer = await api.createToken({
        name,
        expiresAt: parsed.text('expires') ?? null,
        grants: [{ project, permissions }],
      });
      print.answer(answer, answer.token);
      return exitCodes.done;
    },
  },
  {
    words: 'worker enroll',
    arguments: ['ENVIRONMENT', 'NAME'],
    summary: "Makes a worker's credential; it is printed once, with the line that starts the worker.",
    async run(api, parsed, print) {
      const [environment, name] = parsed.positionals as [string, string];
      const answer = await api.enrollWorker(environment, name);
      print.answer(
        answer,
        `${answer.token}\n\nStart the worker with PLUGBOARD_URL, PLUGBOARD_WORKER_TOKEN and PLUGBOARD_WORKER_NAME=${name} set: plugboard worker`,
      );
      return exitCodes.done;
    },
  },
  {
    words: 'test',
    arguments: [connection],
    summary:
      'Tests a connection in stages, on every worker of every environment. Exit code 1 when it failed.',
    options: {
      environment: { value: 'NAME', description: 'In this environment alone.' },
      worker: { value: 'NAME', description: 'On this worker alone.' },
    },
    async run(api, parsed, print) {
      const { project, name } = connectionOf(parsed.positionals[0]!);
      const [environment, worker] = [parsed.text('environment'), parsed.text('worker')];
      const query = {
        ...(environment === undefined ? {} : { environment }),
        ...(worker === undefined ? {} : { worker }),
      };
      if (parsed.has('json')) {
        const answer = await api.testConnection(project, name, query);
        print.answer(answer, '');
        return answer.success ? exitCodes.done : exitCodes.failed;
      }
      let success = false;
      let isAlone = true;
      for await (const event of api.watchTest(project, name, query)) {
        if (event.type === 'started') {
          isAlone = event.targets.length === 1;
          if (isAlone) print.line(`${placeOf(event.targets[0]!)}:`);
        } else if (event.type === 'finished') {
          ({ success } = event);
          for (const warning of event.warnings ?? []) print.line(`! ${warning}`);
        } else {
          // Of several workers that report side by side, each line says whose it is.
          const lead = isAlone ? '' : `${placeOf(event.type === 'stage' ? event : event.result)}: `;
          const lines = event.type === 'stage' ? stageLines(event.stage) : resultLines(event.result);
          for (const line of lines) print.line(`${lead}${line}`);
        }
      }
      return success ? exitCodes.done : exitCodes.failed;
    },
  },
  {
    words: 'trust-host-key',
    arguments: [connection, 'FINGERPRINT'],
    summary: 'Accepts an SSH host key that was refused because another one is pinned.',
    options: {
      environment: { value: 'NAME', description: 'Required where the connection has several.' },
    },
    examples: [
      'plugboard trust-host-key MyProject/my-server SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8',
    ],
    async run(api, parsed, print) {
      const [argument, fingerprint] = parsed.positionals as [string, string];
      const { project, name } = connectionOf(argument);
      const environment = parsed.text('environment');
      const answer = await api.trustHostKey(project, name, fingerprint, {
        ...(environment === undefined ? {} : { environment }),
      });
      const deployed = answer.deploymentResult?.deploymentResults ?? [];
      print.answer(
        answer,
        [
          `Host key ${fingerprint} trusted.`,
          ...deployed.map(({ environmentName, message }) => `${environmentName}: ${message}`),
        ].join('\n'),
      );
      return answer.deploymentResult?.success === false ? exitCodes.failed : exitCodes.done;
    },
  },
  {
    words: 'call',
    arguments: [connection, 'OPERATION'],
    summary: 'Runs an operation of a connection and prints its result.',
    options: {
      data: { value: 'JSON', description: 'The input; @FILE reads a file, @- standard input. Default {}.' },
      environment: { value: 'NAME', description: 'Required where the connection has several.' },
      timeout: { value: 'MS', description: 'Deadline in ms; default 60000.' },
    },
    examples: [
      `plugboard call MyProject/my-email-connection send --data '{"to":["a@example.com"],"subject":"Hi","text":"Hello"}'`,
    ],
    async run(api, parsed, print) {
      const { project, name } = connectionOf(parsed.positionals[0]!);
      const input = await inputOf(parsed.text('data') ?? '{}');
      const [environment, timeout] = [parsed.text('environment'), parsed.text('timeout')];
      if (timeout !== undefined && !/^[1-9]\d{0,5}$/.test(timeout))
        throw new UsageError('--timeout must be a whole number of ms from 1 to 999999');
      const result = await api.call(project, name, parsed.positionals[1]!, input, {
        ...(environment === undefined ? {} : { environment }),
        ...(timeout === undefined ? {} : { timeoutMs: Number(timeout) }),
      });
      print.answer(result, JSON.stringify(result, null, 2));
      return exitCodes.done;
    },
  },
  {
    words: 'keys list',
    arguments: [],
    summary: 'Lists the master keys in use by their ids, and how many values each seals.',
    async run(api, _parsed, print) {
      const answer = await api.request<KeysAnswer>('GET', '/apiops/keys/');
      print.answer(
        answer,
        answer.resultList
          .map(
            ({ keyId, values, newest, given }) =>
              `${keyId}  ${values} values${newest ? ', the newest' : ''}${given ? '' : ', not given'}`,
          )
          .join('\n'),
      );
      return exitCodes.done;
    },
  },
  {
    words: 'keys rotate',
    arguments: [],
    summary: 'Seals everything with the newest master key while Plugboard serves, and waits for the end.',
    examples: [
      'Put a new key in front of the old one in PLUGBOARD_MASTER_KEY, restart, rotate, then leave the old one out.',
    ],
    async run(api, _parsed, print) {
      let answer = await api.request<RotationAnswer>('POST', '/apiops/keys/rotate/');
      while (answer.rotation.state === 'running') {
        await new Promise((resolve) => setTimeout(resolve, rotationPollMs));
        answer = await api.request<RotationAnswer>('GET', '/apiops/keys/rotate/');
      }
      const { state, total, done, message } = answer.rotation;
      print.answer(answer, `${state}: ${done} of ${total} values. ${message ?? ''}`);
      return state === 'done' ? exitCodes.done : exitCodes.failed;
    },
  },
];

const rotationPollMs = 500;

interface KeysAnswer {
  resultList: { keyId: string; values: number; newest: boolean; given: boolean }[];
}

interface RotationAnswer {
  rotation: { state: string; total: number; done: number; message: string | null };
}

const processes: readonly { words: string; summary: string }[] = [
  { words: 'start', summary: 'Control plane and worker in one process, on the embedded database.' },
  { words: 'server', summary: 'The control plane alone.' },
  { words: 'worker', summary: 'A worker alone; needs PLUGBOARD_URL and PLUGBOARD_WORKER_TOKEN.' },
];

const howConfigured = 'configured by environment variables, see docs/configuration.md';

/** Runs one command line and answers the exit code. */
export async function runCli(
  args: string[],
  output: Output = { out: (text) => process.stdout.write(text), err: (text) => process.stderr.write(text) },
): Promise<number> {
  const found = commands
    .map((command) => ({ command, words: command.words.split(' ') }))
    .find(({ words }) => words.every((word, place) => args[place] === word));
  const started = found ? undefined : processes.find(({ words }) => words === args[0]);
  if (started) {
    // main.ts starts a process; what arrives here has arguments.
    const usage = `Usage: plugboard ${started.words}\n\n${started.summary} It takes no arguments; it is ${howConfigured}.\n`;
    if (['--help', '-h'].includes(args[1]!)) {
      output.out(usage);
      return exitCodes.done;
    }
    output.err(`plugboard: unexpected argument '${args[1]}'\n\n${usage}`);
    return exitCodes.usage;
  }
  if (!found) {
    const asked = args[0] ?? 'help';
    if (['help', '--help', '-h'].includes(asked)) {
      output.out(overview());
      return exitCodes.done;
    }
    output.err(`plugboard: unknown command '${args.join(' ')}'\n\n${overview()}`);
    return exitCodes.usage;
  }
  const { command, words } = found;
  try {
    const parsed = parseCommand(command, args.slice(words.length));
    if (parsed.has('help')) {
      output.out(commandHelp(command));
      return exitCodes.done;
    }
    return await command.run(await connect(parsed), parsed, {
      line: (text) => output.out(`${text}\n`),
      answer: (answer, text) => output.out(`${parsed.has('json') ? JSON.stringify(answer) : text}\n`),
    });
  } catch (error) {
    return failed(error, command, args.includes('--json'), output);
  }
}

function failed(error: unknown, command: Command, json: boolean, output: Output): number {
  if (error instanceof UsageError) {
    output.err(`plugboard: ${error.message}\n\n${commandHelp(command)}`);
    return exitCodes.usage;
  }
  if (!(error instanceof PlugboardError)) {
    output.err(`plugboard: ${(error as Error).message}\n`);
    return exitCodes.failed;
  }
  if (json) output.out(`${JSON.stringify(error.body)}\n`);
  else {
    output.err(`plugboard: ${error.message}\n`);
    const faults = error.body.validation_errors ?? [];
    // A single one is the sentence already.
    if (faults.length > 1) for (const { field, message } of faults) output.err(`  ${field}: ${message}\n`);
    if (error.body.hint) output.err(`  ${error.body.hint}\n`);
    if (error.status === 0 && /SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)/.test(error.message))
      output.err('  An authority of your own is trusted by NODE_EXTRA_CA_CERTS=ca.pem.\n');
  }
  return error.status === 0 ? exitCodes.unreachable : exitCodes.failed;
}

function overview(): string {
  const calls = commands.map((command) => ({ ...command, words: callOf(command) }));
  const width = Math.max(...calls.map(({ words }) => words.length));
  const lines = (entries: readonly { words: string; summary: string }[]) =>
    entries.map(({ words, summary }) => `  ${words.padEnd(width)}  ${summary}`).join('\n');
  return `Usage: plugboard COMMAND [options]\n\nProcesses (${howConfigured}):\n${lines(processes)}\n\nCommands (plugboard COMMAND --help tells more):\n${lines(calls)}\n`;
}

function callOf(command: Command): string {
  return [command.words, ...command.arguments].join(' ');
}

/** The token comes from a file or the environment, never from an argument, which every process can read. */
async function connect(parsed: Parsed): Promise<Plugboard> {
  const config = clientConfig();
  const file = parsed.text('token-file');
  const token = file
    ? (await readNamed('--token-file', file)).trim()
    : (config.token ?? (await readFile(config.adminTokenFile, 'utf8').catch(() => undefined))?.trim());
  if (!token)
    throw new UsageError(
      'no token: set PLUGBOARD_TOKEN or give --token-file (the log of the first start names the file of the admin token)',
    );
  const url = parsed.text('url') ?? config.url;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ''))
    throw new UsageError(
      `'${url}' is not the URL of a control plane: give --url or PLUGBOARD_URL such as https://plugboard.example.com`,
    );
  return new Plugboard({ url, token });
}

async function readNamed(option: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
    throw new UsageError(`${option} names ${file}, which ${why}`);
  }
}

function connectionOf(argument: string): { project: string; name: string } {
  const at = argument.indexOf('/');
  if (at <= 0 || at === argument.length - 1) throw new UsageError(`'${argument}' is not ${connection}`);
  return { project: argument.slice(0, at), name: argument.slice(at + 1) };
}

async function inputOf(data: string): Promise<unknown> {
  const text =
    data === '@-'
      ? await readAll(process.stdin)
      : data.startsWith('@')
        ? await readNamed('--data', data.slice(1))
        : data;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--data is not JSON: ${(error as Error).message}`);
  }
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

const marks = { passed: '✓', failed: '✗', skipped: '–' } as const;

function placeOf({ environmentName, worker }: TestTarget): string {
  return `${environmentName} / ${worker}`;
}

function stageLines(stage: Extract<TestEvent, { type: 'stage' }>['stage']): string[] {
  if (stage.status === 'running') return [];
  const { status, durationMs, detail, hint } = stage;
  const took = durationMs === undefined ? '' : `${durationMs} ms  `;
  return [
    `  ${marks[status]} ${stage.stage.padEnd(13)}${took}${detail ?? ''}`.trimEnd(),
    ...(hint ? [`    → ${hint}`] : []),
  ];
}

function resultLines({ success, durationMs, warnings, error_description }: TestResult): string[] {
  return [
    ...(error_description ? [`  ${error_description}`] : []),
    ...(warnings ?? []).map((warning) => `  ! ${warning}`),
    `${success ? 'works' : 'does not work'} (${durationMs} ms)`,
  ];
}
