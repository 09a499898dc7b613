import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
import {
  type Daemon,
  lastingPort,
  needProgram,
  privateDirectory,
  ServerMissing,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

const run = promisify(execFile);

/** Where Debian's package has its jars. */
const libraries = '/usr/share/activemq/lib';

export interface ActiveMqOptions {
  /** Of the TLS transport. */
  certificate: Certificate;
  /** Largest command, where it shall be less than 100 MiB. */
  maxFrameBytes?: number;
  /** Milliseconds after which a silent connection is dead; default 30000. */
  maxInactivityMs?: number;
}

export interface Account {
  readonly user: string;
  readonly password: string;
}

export interface ActiveMqService extends Service {
  /** `port` is OpenWire over TCP. */
  readonly tlsPort: number;
  /** Free to do everything. */
  readonly account: Account;
  /** May read, write and create nothing but advisories. */
  readonly stranger: Account;
  /** May read destinations that begin with `shared.`, and write none. */
  readonly reader: Account;
  /** Runs a Java program of one source file against ActiveMQ's own client; answers what it printed. */
  java(sourceFile: string, ...args: string[]): Promise<string>;
  /** Ends the broker at once, as a crash does, and keeps its ports and data. */
  kill(): Promise<void>;
  /** Starts it again on the same ports and data, after ending it where it runs. */
  restart(): Promise<void>;
}

/** Starts Debian's ActiveMQ Classic with accounts, persistence and TLS; throws `ServerMissing` without it. */
export async function startActiveMq(options: ActiveMqOptions): Promise<ActiveMqService> {
  const java = needProgram('ActiveMQ', 'java');
  const openssl = needProgram('ActiveMQ', 'openssl');
  if (!existsSync(join(libraries, 'activemq-broker.jar'))) throw new ServerMissing('ActiveMQ', 'activemq');
  const directory = await privateDirectory('activemq');
  const at = (...names: string[]) => join(directory.path, ...names);
  const host = '127.0.0.1';
  const [port, tlsPort] = [await lastingPort(), await lastingPort()];
  const account = { user: 'writer', password: 'Canary-4ctive/mq+p' };
  const stranger = { user: 'stranger', password: 'Canary-Str4nger' };
  const reader = { user: 'reader', password: 'Canary-Re4der' };
  const keyStorePassword = 'keystore';
  const classPath = [at('conf'), `${libraries}/*`, `${libraries}/optional/*`].join(':');
  const limits = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
  let daemon: Daemon | undefined;

  const start = async () => {
    const started = startDaemon(java, [
      ...limits,
      '-cp',
      classPath,
      `-Dactivemq.home=${directory.path}`,
      `-Dactivemq.base=${directory.path}`,
      `-Dactivemq.conf=${at('conf')}`,
      `-Dactivemq.data=${at('data')}`,
      `-Djava.io.tmpdir=${at('tmp')}`,
      'org.apache.activemq.console.Main',
      'start',
      `xbean:file:${at('conf', 'activemq.xml')}`,
    ]);
    daemon = started;
    for (const each of [port, tlsPort]) await waitForPort(started, each, 120_000);
  };
  const end = async (signal: NodeJS.Signals) => {
    await daemon?.stop(signal);
    daemon = undefined;
  };
  const stop = async () => {
    await end('SIGKILL');
    await directory.remove();
  };

  try {
    for (const name of ['conf', 'data', 'tmp']) await mkdir(at(name));
    await writeFile(
      at('conf', 'log4j.properties'),
      [
        'log4j.rootLogger=WARN, out',
        'log4j.appender.out=org.apache.log4j.ConsoleAppender',
        'log4j.appender.out.layout=org.apache.log4j.PatternLayout',
        'log4j.appender.out.layout.ConversionPattern=%p %m%n',
        '',
      ].join('\n'),
    );
    await writeFile(at('conf', 'cert.pem'), options.certificate.certPem);
    await writeFile(at('conf', 'key.pem'), options.certificate.keyPem, { mode: 0o600 });
    await run(openssl, [
      'pkcs12',
      '-export',
      '-in',
      at('conf', 'cert.pem'),
      '-inkey',
      at('conf', 'key.pem'),
      '-out',
      at('conf', 'broker.p12'),
      '-passout',
      `pass:${keyStorePassword}`,
    ]);
    await writeFile(
      at('conf', 'activemq.xml'),
      configuration({
        ports: { tcp: port, ssl: tlsPort },
        accounts: { account, stranger, reader },
        keyStore: { path: at('conf', 'broker.p12'), password: keyStorePassword },
        data: at('data'),
        options,
      }),
    );
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host,
    port,
    tlsPort,
    account,
    stranger,
    reader,
    async java(sourceFile, ...args) {
      const { stdout } = await run(java, [...limits, '-cp', classPath, sourceFile, ...args], {
        timeout: 120_000,
      });
      return stdout;
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM');
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function configuration(broker: {
  ports: { tcp: number; ssl: number };
  accounts: Record<'account' | 'stranger' | 'reader', Account>;
  keyStore: { path: string; password: string };
  data: string;
  options: ActiveMqOptions;
}): string {
  const { ports, accounts, keyStore, options } = broker;
  const format = [
    `wireFormat.maxInactivityDuration=${options.maxInactivityMs ?? 30_000}`,
    ...(options.maxFrameBytes === undefined ? [] : [`wireFormat.maxFrameSize=${options.maxFrameBytes}`]),
  ].join('&amp;');
  const user = ({ user: name, password }: Account, groups: string) =>
    `<authenticationUser username="${name}" password="${password}" groups="${groups}"/>`;
  const all = 'read="admins,others" write="admins,others" admin="admins,others"';
  // The schemas are found in the jars, by these names.
  return `<beans xmlns="http://www.springframework.org/schema/beans"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
      http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="plugboard" useJmx="false"
      persistent="true" dataDirectory="${broker.data}" useShutdownHook="true">
    <persistenceAdapter><kahaDB directory="${broker.data}/kahadb" journalMaxFileLength="4mb"/></persistenceAdapter>
    <sslContext><sslContext keyStore="file:${keyStore.path}" keyStoreType="PKCS12" keyStorePassword="${keyStore.password}"/></sslContext>
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="false"><users>
        ${user(accounts.account, 'admins')}
        ${user(accounts.stranger, 'others')}
        ${user(accounts.reader, 'others,readers')}
      </users></simpleAuthenticationPlugin>
      <authorizationPlugin><map><authorizationMap><authorizationEntries>
        <authorizationEntry queue=">" read="admins" write="admins" admin="admins"/>
        <authorizationEntry topic=">" read="admins" write="admins" admin="admins"/>
        <authorizationEntry queue="shared.>" read="admins,readers" write="admins" admin="admins,readers"/>
        <authorizationEntry topic="ActiveMQ.Advisory.>" ${all}/>
      </authorizationEntries></authorizationMap></map></authorizationPlugin>
    </plugins>
    <transportConnectors>
      <transportConnector name="tcp" uri="tcp://127.0.0.1:${ports.tcp}?${format}"/>
      <transportConnector name="ssl" uri="ssl://127.0.0.1:${ports.ssl}?${format}"/>
    </transportConnectors>
  </broker>
</beans>
`;
}
