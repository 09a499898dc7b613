import { Type } from 'typebox';
import {
  type ConfigOf,
  choice,
  defineConnectionType,
  defineOperation,
  flag,
  hostName,
  integer,
  optional,
  portNumber,
  secret,
  text,
  tlsFieldNames,
  tlsFields,
} from '../../contract/connection-type.ts';
import { pinnedServer, sshFields, sshLoginRule } from '../../contract/ssh-fields.ts';

const path = (description: string) => Type.String({ minLength: 1, maxLength: 4096, description });
const encoding = Type.Union([Type.Literal('base64'), Type.Literal('utf8')], {
  description: 'how content is written in JSON; default base64',
});

export const ftp = defineConnectionType({
  type: 'ftp',
  title: 'FTP, FTPS, SFTP',
  summary: 'Lists, reads and writes files on an FTP, FTPS or SFTP server.',
  fields: {
    host: hostName({
      title: 'Host',
      description: 'Name or address of the server.',
      examples: ['files.example.com'],
    }),
    port: optional(
      portNumber({
        title: 'Port',
        description: 'Left out: 22 for SFTP, 990 for FTPS with implicit TLS, 21 otherwise.',
      }),
    ),
    protocol: choice(['FTP', 'SFTP', 'FTPS'], {
      title: 'Protocol',
      description:
        'FTP sends password and files in clear. FTPS is FTP over TLS. SFTP is file transfer over SSH, another protocol with another port.',
      group: 'target',
      labels: { FTP: 'FTP (unencrypted)', SFTP: 'SFTP (over SSH)', FTPS: 'FTPS (over TLS)' },
      destination: 'address',
    }),
    useImplicit: flag({
      title: 'Implicit TLS',
      description:
        'FTPS that speaks TLS from the first byte, usually on port 990. FTPS needs exactly one of implicit and explicit.',
      group: 'tls',
      default: false,
      visibleWhen: { protocol: 'FTPS' },
      destination: 'address',
    }),
    useExplicit: flag({
      title: 'Explicit TLS',
      description:
        'FTPS that starts in clear and turns to TLS by AUTH TLS before logging in, usually on port 21; a server that does not offer it is an error. FTPS needs exactly one of implicit and explicit.',
      group: 'tls',
      default: false,
      visibleWhen: { protocol: 'FTPS' },
      destination: { weakestFirst: [false, true] },
    }),
    sslProtocol: choice(['TLS', 'TLSv1.2', 'TLSv1.3', 'SSL'], {
      title: 'TLS version',
      description:
        'TLS takes the newest version that both sides know, at least 1.2; TLSv1.2 and TLSv1.3 take that version alone. SSL is an old name for TLS: SSL 3.0 itself is never spoken.',
      group: 'tls',
      default: 'TLS',
      visibleWhen: { protocol: 'FTPS' },
      destination: { weakestFirst: ['SSL', 'TLS', 'TLSv1.2', 'TLSv1.3'] },
    }),
    ...tlsFields,
    username: text({
      title: 'User name',
      description: 'Account to log in with; anonymous where the server allows it.',
      group: 'authentication',
      minLength: 1,
      maxLength: 255,
      examples: ['transfer'],
    }),
    password: optional(
      secret({
        title: 'Password',
        description:
          'Required, but for SFTP with a private key. Plain FTP sends it in clear over the network.',
        maxLength: 4096,
      }),
    ),
    ...sshFields,
    workingDir: text({
      title: 'Working directory',
      description:
        'Directory on the server that all paths of operations are relative to. Operations do not leave it.',
      group: 'target',
      default: '/',
      minLength: 1,
      maxLength: 4096,
    }),
    timeout: integer({
      title: 'Timeout',
      description:
        'Longest wait for the connection, for an answer, and between two pieces of data; 0: no limit of its own.',
      group: 'limits',
      unit: 'ms',
      default: 30000,
      minimum: 0,
      maximum: 2_147_483_647,
    }),
    retryCount: integer({
      title: 'Retries',
      description:
        'How often a broken transfer is tried again on a new connection; refused log-ins and answers that stay the same are not repeated.',
      group: 'delivery',
      default: 3,
      minimum: 0,
      maximum: 100,
    }),
  },
  rules: [
    { when: { protocol: ['FTP', 'FTPS'] }, require: ['password'] },
    { when: { protocol: 'SFTP' }, ...sshLoginRule },
    {
      when: { protocol: 'FTPS', useImplicit: true },
      demand: { useExplicit: false },
      message: 'cannot be combined with useImplicit: FTPS needs exactly one of the two',
    },
    {
      when: { protocol: 'FTPS', useImplicit: false },
      demand: { useExplicit: true },
      message: 'must be true unless useImplicit is: FTPS needs exactly one of the two',
    },
  ],
  destinations: {
    // FTP stands for its TLS variant too, since raising protection is no move; SSH is another service.
    protocol(value) {
      if (value === 'FTP') return ['ftp in clear', 'ftp over tls'];
      if (value === 'FTPS') return ['ftp over tls'];
      return value == null ? [] : [String(value)];
    },
  },
  hostKeyServer: (config) =>
    config.protocol === 'SFTP' ? pinnedServer(config, config.host, config.port ?? 22) : undefined,
  remarks(config, idle) {
    const remarks: string[] = [];
    if (config.protocol === 'FTP')
      remarks.push('protocol: FTP sends password and files in clear over the network');
    if (config.protocol !== 'FTPS')
      remarks.push(
        ...idle(['useImplicit', 'useExplicit', 'sslProtocol', ...tlsFieldNames], 'the protocol is not FTPS'),
      );
    if (config.protocol === 'FTPS' && config.sslProtocol === 'SSL')
      remarks.push('sslProtocol: SSL is taken as TLS 1.2 or newer; SSL 3.0 is never spoken');
    if (config.protocol === 'FTPS' && !config.verifyCertificate)
      remarks.push('verifyCertificate: is off, so neither chain nor host name of the server is verified');
    if (config.protocol !== 'SFTP')
      remarks.push(...idle(['privateKey', 'passphrase', 'hostKeyFingerprint'], 'the protocol is not SFTP'));
    else if (config.privateKey == null) remarks.push(...idle(['passphrase'], 'there is no privateKey'));
    return remarks;
  },
  notes: [
    'Ports: 21 FTP and explicit FTPS, 990 implicit FTPS, 22 SFTP.',
    'Data connections are passive: the server names a port that must be reachable from the worker, so its range must be open in firewalls.',
  ],
  operations: {
    list: defineOperation({
      title: 'List a directory',
      description: 'Answers the entries of a directory, without . and ...',
      input: Type.Object(
        {
          path: Type.Optional(path('directory, relative to the working directory; default: it')),
          maxEntries: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 100_000,
              description: 'most entries to return; default 10,000',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        entries: Type.Array(
          Type.Object({
            name: Type.String(),
            type: Type.Union([
              Type.Literal('file'),
              Type.Literal('directory'),
              Type.Literal('symlink'),
              Type.Literal('other'),
            ]),
            size: Type.Union([Type.Integer(), Type.Null()], { description: 'bytes; null when not told' }),
            modifiedAt: Type.Union([Type.String(), Type.Null()], {
              description: 'ISO 8601; null when the server does not tell it exactly',
            }),
            permissions: Type.Optional(Type.String({ description: 'as rwxr-xr-x, where the server tells' })),
          }),
        ),
        truncated: Type.Boolean({ description: 'true: there are more entries' }),
      }),
    }),
    upload: defineOperation({
      title: 'Upload a file',
      description:
        'Writes a file under a temporary name beside its place and renames it when it is complete, so that nobody reads half of it. What an upload that fails or is cancelled has left there is removed behind its answer, while the server can be reached and the connection is not closed.',
      input: Type.Object(
        {
          path: path('file, relative to the working directory'),
          content: Type.String({ description: 'content of the file, as encoding says' }),
          encoding: Type.Optional(encoding),
          overwrite: Type.Optional(
            Type.Boolean({ description: 'whether a file that is there is replaced; default true' }),
          ),
          makeDirectories: Type.Optional(
            Type.Boolean({ description: 'whether missing directories are made; default false' }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({ path: Type.String(), size: Type.Integer({ description: 'bytes written' }) }),
    }),
    download: defineOperation({
      title: 'Download a file',
      description: 'Reads a file. One larger than maxBytes is an error, never half a file.',
      input: Type.Object(
        {
          path: path('file, relative to the working directory'),
          encoding: Type.Optional(encoding),
          maxBytes: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 67_108_864, description: 'default 16 MiB, at most 64 MiB' }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({
        path: Type.String(),
        size: Type.Integer({ description: 'bytes' }),
        content: Type.String(),
        encoding: Type.String({ description: 'base64 or utf8, as asked' }),
      }),
    }),
    delete: defineOperation({
      title: 'Delete a file or directory',
      description: 'Deletes one file, or one empty directory.',
      input: Type.Object(
        {
          path: path('what to delete, relative to the working directory'),
          directory: Type.Optional(
            Type.Boolean({ description: 'true: it is a directory, which must be empty; default false' }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({ path: Type.String() }),
    }),
    rename: defineOperation({
      title: 'Rename or move',
      description: 'Gives a file or directory another name or place on the same server.',
      input: Type.Object(
        {
          from: path('what to rename, relative to the working directory'),
          to: path('new name, relative to the working directory'),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({ from: Type.String(), to: Type.String() }),
    }),
    mkdir: defineOperation({
      title: 'Make a directory',
      description: 'Makes a directory.',
      input: Type.Object(
        {
          path: path('directory, relative to the working directory'),
          parents: Type.Optional(
            Type.Boolean({
              description:
                'true: missing parents are made too and one that is there is no error; default false',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      output: Type.Object({ path: Type.String() }),
    }),
  },
});

/** The port to dial: as configured, else 22 for SFTP, 990 for implicit FTPS, 21. */
export function effectivePort(
  config: Pick<ConfigOf<typeof ftp>, 'port' | 'protocol' | 'useImplicit'>,
): number {
  if (config.port !== undefined) return config.port;
  if (config.protocol === 'SFTP') return 22;
  return config.protocol === 'FTPS' && config.useImplicit ? 990 : 21;
}
