import { Type } from 'typebox';
import {
  defineConnectionType,
  defineOperation,
  hostName,
  integer,
  optional,
  portNumber,
  secret,
  text,
} from '../../contract/connection-type.ts';
import { pinnedServer, sshFields, sshLoginRule } from '../../contract/ssh-fields.ts';

const maxTimeoutMs = 2_147_483_647;

export interface RunInput {
  script?: string;
  command?: string;
  args?: string[];
  stdin?: string;
  environment?: Record<string, string>;
  timeoutMs?: number;
}

export const linuxScript = defineConnectionType({
  type: 'linux-script',
  title: 'Linux script (SSH)',
  summary: 'Runs commands and scripts on a Linux or Unix machine over SSH.',
  fields: {
    hostName: hostName({
      title: 'Host',
      description: 'Name or address of the machine.',
      examples: ['app1.example.com'],
    }),
    sshPort: portNumber({ title: 'Port', description: 'Port of the SSH server.', default: 22 }),
    username: text({
      title: 'User name',
      description: 'Account that the commands run as. Give it no more rights than they need.',
      group: 'authentication',
      minLength: 1,
      maxLength: 255,
      examples: ['deploy'],
    }),
    password: optional(
      secret({
        title: 'Password',
        description: 'Required unless a private key is given. Also answers keyboard-interactive prompts.',
        maxLength: 4096,
      }),
    ),
    ...sshFields,
    connectTimeout: integer({
      title: 'Connect timeout',
      description: 'Longest wait for TCP, key exchange and log-in; 0: no limit of its own.',
      group: 'limits',
      unit: 'ms',
      default: 10000,
      minimum: 0,
      maximum: maxTimeoutMs,
    }),
    commandTimeout: integer({
      title: 'Command timeout',
      description:
        'Longest run of a command that names no time of its own; then the remote command is killed. 0: no limit of its own.',
      group: 'limits',
      unit: 'ms',
      default: 60000,
      minimum: 0,
      maximum: maxTimeoutMs,
    }),
    maxOutputBytes: integer({
      title: 'Most output',
      description:
        'Most bytes kept of standard output, and as many of standard error; what comes after is read and dropped, and the answer says so.',
      group: 'limits',
      unit: 'bytes',
      default: 1_048_576,
      minimum: 0,
      maximum: 67_108_864,
    }),
  },
  rules: [{ when: {}, ...sshLoginRule }],
  remarks(config, idle) {
    return config.privateKey == null ? idle(['passphrase'], 'there is no privateKey') : [];
  },
  notes: [
    'Commands start in the home directory of the account, in a shell that is neither interactive nor a login shell: .bash_profile is not read and PATH may be short.',
    'Servers may forbid passwords (PasswordAuthentication no); then a private key is needed.',
  ],
  hostKeyServer: (config) => pinnedServer(config, config.hostName, config.sshPort),
  operations: {
    run: defineOperation({
      title: 'Run',
      description:
        'Runs a script, or one command with arguments, and answers its exit code and output. An exit code other than 0 is a result, no error. A command that exceeds its time is killed and the call fails with target_timeout.',
      input: Type.Unsafe<RunInput>({
        type: 'object',
        properties: {
          script: {
            type: 'string',
            minLength: 1,
            maxLength: 1_048_576,
            description: 'text for /bin/sh, several lines if need be; runs as it is written',
          },
          command: {
            type: 'string',
            minLength: 1,
            maxLength: 4096,
            description: 'one program, by name or path; it is quoted, so the shell expands nothing in it',
          },
          args: {
            type: 'array',
            items: { type: 'string', maxLength: 131_072 },
            maxItems: 1000,
            description: 'arguments of command, each quoted for the remote shell; default none',
          },
          stdin: { type: 'string', description: 'written to standard input, which is then closed' },
          environment: {
            type: 'object',
            propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]*$', maxLength: 255 },
            additionalProperties: { type: 'string', maxLength: 131_072 },
            maxProperties: 100,
            description: 'variables to set for it, whatever AcceptEnv of the server says',
          },
          timeoutMs: {
            type: 'integer',
            minimum: 1,
            maximum: 3_600_000,
            description: "default: the connection's commandTimeout",
          },
        },
        additionalProperties: false,
        oneOf: [
          {
            type: 'object',
            required: ['script'],
            properties: { script: { type: 'string' }, args: { type: 'array', maxItems: 0 } },
          },
          { type: 'object', required: ['command'] },
        ],
      }),
      output: Type.Object({
        exitCode: Type.Union([Type.Integer(), Type.Null()], { description: 'null when a signal ended it' }),
        signal: Type.Union([Type.String(), Type.Null()], { description: 'such as KILL' }),
        stdout: Type.String({ description: 'as UTF-8; bytes that are none are replaced' }),
        stderr: Type.String(),
        stdoutTruncated: Type.Boolean({ description: 'true: there was more than maxOutputBytes' }),
        stderrTruncated: Type.Boolean(),
        durationMs: Type.Integer(),
      }),
    }),
  },
});
