import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import type { Certificate } from './certificates.ts';
import { programVersion } from './proof.ts';
import {
  freePort,
  needProgram,
  privateDirectory,
  ServerMissing,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

export interface ReceivedMail {
  from: string;
  to: string[];
  /** The mail as it came, dots unstuffed. */
  content: Buffer;
  user: string | undefined;
  secure: boolean;
}

export interface SmtpOptions {
  port?: number;
  /** implicit: TLS from the first byte. none: STARTTLS is not offered. */
  tls?: 'none' | 'starttls' | 'implicit';
  certificate?: Certificate;
  /** Mechanisms that are offered; without an account none is. */
  mechanisms?: string[];
  account?: { user: string; password: string };
  /** Answer to a log-in in place of the account's own verdict. */
  refuseLogInWith?: { code: number; message: string };
  /** Recipients that are refused, with the reply. */
  refused?: Record<string, { code: number; message: string }>;
  /** Reply to the mail's content in place of 250. */
  refuseMailWith?: { code: number; message: string };
  maxBytes?: number;
  /** Asked at MAIL FROM and behind the content; true: every socket is ended by force instead of a reply. */
  drop?: (at: 'sender' | 'content') => boolean;
}

export interface SmtpService extends Service {
  readonly mails: ReceivedMail[];
  /** Sockets that are open at the moment. */
  sockets(): number;
  /** Sessions begun since the start. */
  sessions(): number;
  /** Ends every socket by force and listens again on the same port. */
  restart(): Promise<void>;
  /** Ends every socket by force, and goes on listening. */
  dropSockets(): void;
}

/** An SMTP server of npm for the protocol's corners: it does what a test tells it to. */
export async function startSmtp(options: SmtpOptions = {}): Promise<SmtpService> {
  const host = '127.0.0.1';
  const mails: ReceivedMail[] = [];
  const sockets = new Set<Socket>();
  let sessions = 0;
  let server: SMTPServer;
  const port = options.port ?? (await freePort());

  async function listen() {
    server = new SMTPServer(serverOptions(options, mails, dropSockets));
    server.on('error', () => {});
    // Also for TLS, whose sockets are known to the server only after the handshake.
    server.server.on('connection', (socket: Socket) => {
      sessions++;
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    });
    server.listen(port, host);
    await once(server.server, 'listening');
  }

  function dropSockets() {
    for (const socket of sockets) socket.resetAndDestroy();
  }

  async function stop() {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    dropSockets();
    await closed;
  }

  await listen();
  return {
    host,
    port,
    mails,
    sockets: () => server.connections.size,
    sessions: () => sessions,
    dropSockets,
    async restart() {
      await stop();
      await listen();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function serverOptions(
  options: SmtpOptions,
  mails: ReceivedMail[],
  dropSockets: () => void,
): SMTPServerOptions {
  const { tls = 'none', certificate, account, refuseLogInWith, refused = {}, refuseMailWith } = options;
  return {
    name: 'mail.test',
    secure: tls === 'implicit',
    ...(certificate ? { key: certificate.keyPem, cert: certificate.certPem } : {}),
    ...(options.maxBytes === undefined ? {} : { size: options.maxBytes }),
    authMethods: options.mechanisms ?? ['PLAIN', 'LOGIN', 'CRAM-MD5'],
    authOptional: account === undefined,
    allowInsecureAuth: true,
    disabledCommands: [...(tls === 'starttls' ? [] : ['STARTTLS']), ...(account ? [] : ['AUTH'])],
    disableReverseLookup: true,
    closeTimeout: 100,
    onAuth(auth, _session, callback) {
      if (refuseLogInWith) return callback(reply(refuseLogInWith));
      const known =
        auth.username === account?.user &&
        (auth.method === 'CRAM-MD5'
          ? auth.validatePassword(account?.password ?? '')
          : auth.password === account?.password);
      if (known) return callback(null, { user: auth.username! });
      callback(reply({ code: 535, message: '5.7.8 Error: authentication failed' }));
    },
    onMailFrom(_address, _session, callback) {
      if (options.drop?.('sender')) dropSockets();
      else callback(null);
    },
    onRcptTo({ address }, _session, callback) {
      const refusal = refused[address];
      callback(refusal ? reply(refusal) : null);
    },
    onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        if (stream.sizeExceeded)
          return callback(reply({ code: 552, message: '5.3.4 Error: message exceeds the size limit' }));
        if (refuseMailWith) return callback(reply(refuseMailWith));
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          from: mailFrom ? mailFrom.address : '',
          to: rcptTo.map(({ address }) => address),
          content: Buffer.concat(chunks),
          user: session.user,
          secure: session.secure,
        });
        if (options.drop?.('content')) dropSockets();
        else callback(null, `2.0.0 Ok: queued as ${mails.length}`);
      });
    },
  };
}

function reply({ code, message }: { code: number; message: string }): Error {
  return Object.assign(new Error(message), { responseCode: code });
}

export interface PostfixOptions {
  /** Authorities in PEM; with them submission and implicit TLS demand a client certificate of theirs. */
  clientCaPem?: string;
  /** Further lines of main.cf. */
  config?: string[];
}

export interface PostfixService extends Service {
  /** Plain SMTP is `port`; submission demands STARTTLS. */
  readonly submissionPort: number;
  /** Implicit TLS. */
  readonly smtpsPort: number;
  /** Address that is delivered to the mailbox. */
  readonly address: string;
  /** What the mailbox holds, in mbox format. */
  mailbox(): Promise<string>;
}

/** Postfix with a directory and ports of its own; needs root, for it gives its processes other users. */
export async function startPostfix(
  certificate: Certificate,
  { clientCaPem, config = [] }: PostfixOptions = {},
): Promise<PostfixService> {
  const postfix = needProgram('postfix', 'postfix');
  if (process.getuid?.() !== 0) throw new ServerMissing('postfix', 'the right to run it as root');
  const directory = await privateDirectory('postfix');
  const at = (...names: string[]) => join(directory.path, ...names);
  const [port, submissionPort, smtpsPort] = [await freePort(), await freePort(), await freePort()];
  const address = 'reader@plugboard.test';

  await chmod(directory.path, 0o755);
  for (const name of ['etc', 'queue', 'data', 'mail']) await mkdir(at(name));
  await writeFile(at('etc', 'cert.pem'), certificate.certPem);
  await writeFile(at('etc', 'key.pem'), certificate.keyPem, { mode: 0o600 });
  if (clientCaPem !== undefined) await writeFile(at('etc', 'client-ca.pem'), clientCaPem);
  await writeFile(at('etc', 'mailboxes'), `${address} reader\n`);
  await writeFile(
    at('etc', 'main.cf'),
    [
      'compatibility_level = 3.6',
      `queue_directory = ${at('queue')}`,
      `data_directory = ${at('data')}`,
      // Standard output is a socket under Node, and cannot be opened again by name.
      `maillog_file = ${at('log')}`,
      `maillog_file_prefixes = ${directory.path}`,
      'myhostname = mail.plugboard.test',
      'mydestination =',
      'inet_interfaces = 127.0.0.1',
      'inet_protocols = ipv4',
      'mynetworks = 127.0.0.0/8',
      'alias_maps =',
      'alias_database =',
      'local_transport = error:no local delivery',
      'virtual_mailbox_domains = plugboard.test',
      `virtual_mailbox_base = ${at('mail')}`,
      `virtual_mailbox_maps = texthash:${at('etc', 'mailboxes')}`,
      'virtual_uid_maps = static:65534',
      'virtual_gid_maps = static:65534',
      'virtual_minimum_uid = 100',
      'smtpd_recipient_restrictions = reject_unauth_destination',
      'smtpd_relay_restrictions = reject_unauth_destination',
      `smtpd_tls_cert_file = ${at('etc', 'cert.pem')}`,
      `smtpd_tls_key_file = ${at('etc', 'key.pem')}`,
      'smtpd_tls_security_level = may',
      ...(clientCaPem === undefined
        ? []
        : [`smtpd_tls_CAfile = ${at('etc', 'client-ca.pem')}`, 'smtpd_tls_req_ccert = yes']),
      ...config,
      '',
    ].join('\n'),
  );
  await promisify(execFile)('chown', ['postfix', at('data')]);
  await promisify(execFile)('chown', ['65534:65534', at('mail')]);
  await writeFile(
    at('etc', 'master.cf'),
    [
      `127.0.0.1:${port} inet n - n - - smtpd -o smtpd_tls_security_level=none`,
      `127.0.0.1:${submissionPort} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt`,
      `127.0.0.1:${smtpsPort} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_security_level=encrypt`,
      'pickup unix n - n 60 1 pickup',
      'cleanup unix n - n - 0 cleanup',
      'qmgr unix n - n 300 1 qmgr',
      'rewrite unix - - n - - trivial-rewrite',
      'bounce unix - - n - 0 bounce',
      'defer unix - - n - 0 bounce',
      'trace unix - - n - 0 bounce',
      'verify unix - - n - 1 verify',
      'flush unix n - n 1000? 0 flush',
      'proxymap unix - - n - - proxymap',
      'error unix - - n - - error',
      'retry unix - - n - - error',
      'discard unix - - n - - discard',
      'virtual unix - n n - - virtual',
      'anvil unix - - n - 1 anvil',
      'scache unix - - n - 1 scache',
      'tlsmgr unix - - n 1000? 1 tlsmgr',
      'showq unix n - n - - showq',
      'postlog unix-dgram n - n - 1 postlogd',
      '',
    ].join('\n'),
  );

  const daemon = startDaemon(postfix, ['-c', at('etc'), 'start-fg']);
  const remove = async () => {
    // The program in the foreground is a shell; its child, the master, is ended by its own command.
    const stopping = startDaemon(postfix, ['-c', at('etc'), 'stop']);
    await once(stopping.process, 'close');
    await daemon.stop();
    await directory.remove();
  };
  try {
    for (const each of [port, submissionPort, smtpsPort]) await waitForPort(daemon, each);
  } catch (cause) {
    const log = await readFile(at('log'), 'utf8').catch(() => '');
    await remove();
    throw new Error(`postfix did not start:\n${log}`, { cause });
  }
  return {
    host: '127.0.0.1',
    server: {
      name: 'Postfix',
      version: () => programVersion(needProgram('postfix', 'postconf'), '-d', '-h', 'mail_version'),
    },
    port,
    submissionPort,
    smtpsPort,
    address,
    mailbox: () => readFile(at('mail', 'reader'), 'utf8').catch(() => ''),
    stop: remove,
    [Symbol.asyncDispose]: remove,
  };
}
