import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
import { mavenJars } from './maven.ts';
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
  /** One authority in PEM; with it the transports over TLS demand a client certificate of its. */
  clientCaPem?: string;
  /** Largest command, where it shall be less than 100 MiB. */
  maxFrameBytes?: number;
  /** Adds AMQP 1.0, whose jars come from Maven Central once; throws `ServerMissing` without Maven. */
  amqp?: boolean;
}

export interface Account {
  readonly user: string;
  readonly password: string;
}

/** Versions of the transport for AMQP 1.0, which Debian's package leaves out, and of what it needs. */
const amqpArtifact = { name: 'activemq-amqp', version: '5.17.2' };

export interface ActiveMqService extends Service {
  /** `port` is OpenWire over TCP. */
  readonly tlsPort: number;
  /** Of AMQP 1.0, in clear and over TLS, where it was asked for. */
  readonly amqpPort: number;
  readonly amqpsPort: number;
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
  const [port, tlsPort, amqpPort, amqpsPort] = [
    await lastingPort(),
    await lastingPort(),
    await lastingPort(),
    await lastingPort(),
  ];
  const amqpJars = options.amqp
    ? await mavenJars('ActiveMQ', [{ group: 'org.apache.activemq', ...amqpArtifact }])
    : [];
  const account = { user: 'writer', password: 'Canary-4ctive/mq+p' };
  const stranger = { user: 'stranger', password: 'Canary-Str4nger' };
  const reader = { user: 'reader', password: 'Canary-Re4der' };
  const keyStorePassword = 'keystore';
  // Of what came along with the transport, only what Debian does not have already.
  const extra = amqpJars.filter((jar) => /\/(activemq-amqp|proton-j)-[^/]*\.jar$/.test(jar));
  const classPath = [at('conf'), `${libraries}/*`, `${libraries}/optional/*`, ...extra].join(':');
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
    for (const each of [port, tlsPort, ...(options.amqp ? [amqpPort, amqpsPort] : [])])
      await waitForPort(started, each, 120_000);
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
    if (options.clientCaPem !== undefined) {
      await writeFile(at('conf', 'client-ca.pem'), options.clientCaPem);
      await run(needProgram('ActiveMQ', 'keytool'), [
        '-importcert',
        '-noprompt',
        '-alias',
        'ca',
        '-storetype',
        'PKCS12',
        '-file',
        at('conf', 'client-ca.pem'),
        '-keystore',
        at('conf', 'clients.p12'),
        '-storepass',
        keyStorePassword,
      ]);
    }
    await writeFile(
      at('conf', 'activemq.xml'),
      configuration({
        ports: {
          tcp: port,
          ssl: tlsPort,
          ...(options.amqp ? { amqp: amqpPort, 'amqp+ssl': amqpsPort } : {}),
        },
        accounts: { account, stranger, reader },
        keyStore: { path: at('conf', 'broker.p12'), password: keyStorePassword },
        ...(options.clientCaPem === undefined ? {} : { trustStorePath: at('conf', 'clients.p12') }),
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
    amqpPort,
    amqpsPort,
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
  /** Transport → port. */
  ports: Record<string, number>;
  accounts: Record<'account' | 'stranger' | 'reader', Account>;
  keyStore: { path: string; password: string };
  /** With it, clients need a certificate; its password is the key store's. */
  trustStorePath?: string;
  data: string;
  options: ActiveMqOptions;
}): string {
  const { ports, accounts, keyStore, trustStorePath, options } = broker;
  const trustStore = trustStorePath
    ? ` trustStore="file:${trustStorePath}" trustStoreType="PKCS12" trustStorePassword="${keyStore.password}"`
    : '';
  const isSecure = (transport: string) => transport.endsWith('ssl');
  const format = [
    'wireFormat.maxInactivityDuration=30000',
    ...(options.maxFrameBytes === undefined ? [] : [`wireFormat.maxFrameSize=${options.maxFrameBytes}`]),
  ].join('&amp;');
  const user = ({ user: name, password }: Account, groups: string) =>
    `<authenticationUser username="${name}" password="${password}" groups="${groups}"/>`;
  const all = 'read="admins,others" write="admins,others" admin="admins,others"';
  const connectors = Object.entries(ports).map(
    ([transport, port]) =>
      `<transportConnector name="${transport}" uri="${transport}://127.0.0.1:${port}?${transport.startsWith('amqp') ? 'transport.transformer=jms' : format}${trustStorePath && isSecure(transport) ? '&amp;transport.needClientAuth=true' : ''}"/>`,
  );
  // The schemas are found in the jars, by these names.
  return `<beans xmlns="http://www.springframework.org/schema/beans"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
      http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="plugboard" useJmx="false"
      persistent="true" dataDirectory="${broker.data}" useShutdownHook="true">
    <persistenceAdapter><kahaDB directory="${broker.data}/kahadb" journalMaxFileLength="4mb"/></persistenceAdapter>
    <sslContext><sslContext keyStore="file:${keyStore.path}" keyStoreType="PKCS12" keyStorePassword="${keyStore.password}"${trustStore}/></sslContext>
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
      ${connectors.join('\n      ')}
    </transportConnectors>
  </broker>
</beans>
`;
}
