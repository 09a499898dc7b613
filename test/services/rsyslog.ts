import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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

/** A message as rsyslog has parsed it. */
export interface SyslogRecord {
  /** Input that it came by. */
  input: string;
  pri: string;
  timestamp: string;
  hostname: string;
  tag: string;
  app: string;
  procid: string;
  msgid: string;
  structured: string;
  msg: string;
  raw: string;
}

export interface RsyslogService extends Service {
  /** imptcp, both framings; the same as `port`. */
  readonly tcpPort: number;
  /** imtcp by the gtls driver. */
  readonly tlsPort: number;
  /** As `tlsPort`, but wants a client certificate of the authority. */
  readonly mutualPort: number;
  readonly udpPort: number;
  /** Everything written so far, across restarts. */
  records(): Promise<SyslogRecord[]>;
  /** Waits until so many records satisfy the condition, and answers them. */
  received(condition: (record: SyslogRecord) => boolean, count?: number): Promise<SyslogRecord[]>;
  /** Ends it with its sockets and starts it again on the same ports. */
  restart(): Promise<void>;
  /** Ends it; `restart` starts it again. */
  pause(): Promise<void>;
}

const moduleDirectories = ['x86_64-linux-gnu/', 'aarch64-linux-gnu/', ''].map(
  (architecture) => `/usr/lib/${architecture}rsyslog`,
);

/** rsyslog with a directory and ports of its own; it writes what it has parsed as lines of JSON. */
export async function startRsyslog(certificate: Certificate, caPem: string): Promise<RsyslogService> {
  const program = needProgram('rsyslog', 'rsyslogd');
  if (!moduleDirectories.some((path) => existsSync(join(path, 'lmnsd_gtls.so'))))
    throw new ServerMissing('rsyslog', 'rsyslog-gnutls');
  const directory = await privateDirectory('rsyslog');
  const at = (name: string) => join(directory.path, name);
  const [tcpPort, tlsPort, mutualPort, udpPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  await writeFile(at('ca.pem'), caPem);
  await writeFile(at('cert.pem'), certificate.certPem);
  await writeFile(at('key.pem'), certificate.keyPem, { mode: 0o600 });
  const properties = {
    input: 'inputname',
    pri: 'pri',
    timestamp: 'timereported" dateFormat="rfc3339',
    hostname: 'hostname',
    tag: 'syslogtag',
    app: 'app-name',
    procid: 'procid',
    msgid: 'msgid',
    structured: 'structured-data',
    msg: 'msg',
    raw: 'rawmsg-after-pri',
  };
  const tls = [
    `streamDriver.name="gtls"`,
    `streamDriver.mode="1"`,
    `streamDriver.CAFile="${at('ca.pem')}"`,
    `streamDriver.certFile="${at('cert.pem')}"`,
    `streamDriver.keyFile="${at('key.pem')}"`,
  ].join(' ');
  await writeFile(
    at('conf'),
    [
      // What was sent is looked at, not what rsyslog would make of it.
      'global(parser.escapeControlCharactersOnReceive="off" maxMessageSize="128k"',
      `  workDirectory="${directory.path}" defaultNetstreamDriverCAFile="${at('ca.pem')}"`,
      `  defaultNetstreamDriverCertFile="${at('cert.pem')}" defaultNetstreamDriverKeyFile="${at('key.pem')}")`,
      'module(load="imudp")',
      'module(load="imptcp")',
      'module(load="imtcp")',
      'template(name="parsed" type="list" option.jsonf="on") {',
      ...Object.entries(properties).map(
        ([outname, name]) => `  property(outname="${outname}" name="${name}" format="jsonf")`,
      ),
      '}',
      `input(type="imudp" address="127.0.0.1" port="${udpPort}" name="udp")`,
      `input(type="imptcp" address="127.0.0.1" port="${tcpPort}" name="tcp")`,
      `input(type="imtcp" address="127.0.0.1" port="${tlsPort}" name="tls" ${tls} streamDriver.authMode="anon")`,
      `input(type="imtcp" address="127.0.0.1" port="${mutualPort}" name="mutual" ${tls} streamDriver.authMode="x509/certvalid")`,
      `action(type="omfile" file="${at('log')}" template="parsed" asyncWriting="off")`,
      '',
    ].join('\n'),
  );

  const start = async () => {
    const started = startDaemon(program, ['-n', '-f', at('conf'), '-i', at('pid')]);
    for (const port of [tcpPort, tlsPort, mutualPort]) await waitForPort(started, port);
    return started;
  };
  let daemon = await start().catch(async (error: unknown) => {
    await directory.remove();
    throw error;
  });
  const records = async () => {
    const log = await readFile(at('log'), 'utf8').catch(() => '');
    const lines = log.split('\n').slice(0, -1);
    return lines
      .map((line) => JSON.parse(line) as SyslogRecord)
      .filter(({ input }) => ['udp', 'tcp', 'tls', 'mutual'].includes(input));
  };
  const stop = async () => {
    await daemon.stop();
    await directory.remove();
  };
  return {
    host: '127.0.0.1',
    server: { name: 'rsyslog', version: () => programVersion(program, '-v') },
    port: tcpPort,
    tcpPort,
    tlsPort,
    mutualPort,
    udpPort,
    records,
    async received(condition, count = 1) {
      const deadline = Date.now() + 30_000;
      for (;;) {
        const found = (await records()).filter(condition);
        if (found.length >= count) return found;
        if (Date.now() > deadline)
          throw new Error(`${found.length} of ${count} messages arrived:\n${daemon.output()}`);
        await sleep(50);
      }
    },
    async restart() {
      await daemon.stop();
      daemon = await start();
    },
    pause: () => daemon.stop(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
