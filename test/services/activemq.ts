import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
import { mavenJars } from './maven.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  ServerMissing,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

const run = promisify(execFile);

/** The brokers that speak OpenWire and AMQP 1.0: Classic as Debian has it, its present line, and Artemis. */
export const brokers = ['ActiveMQ Classic 5', 'ActiveMQ Classic 6', 'Artemis'] as const;
export type Broker = (typeof brokers)[number];

export interface ActiveMqOptions {
  /** Default ActiveMQ Classic 5. */
  broker?: Broker;
  /** Of the TLS transport. */
  certificate: Certificate;
  /** One authority in PEM; with it the transports over TLS demand a client certificate of its. */
  clientCaPem?: string;
  /** Largest command of OpenWire, where it shall be less than 100 MiB; Artemis knows no such limit. */
  maxFrameBytes?: number;
  /** Adds AMQP 1.0. */
  amqp?: boolean;
}

export interface Account {
  readonly user: string;
  readonly password: string;
}

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

interface Accounts {
  /** Free to do everything. */
  readonly account: Account;
  readonly stranger: Account;
  readonly reader: Account;
}

/** What a broker is configured with. */
interface Setup {
  /** Transport → port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly accounts: Accounts;
  readonly keyStore: { readonly path: string; readonly password: string };
  /** With it, clients need a certificate; its password is the key store's. */
  readonly trustStorePath: string | undefined;
  readonly directory: string;
  readonly options: ActiveMqOptions;
}

interface Distribution {
  /** Class path of the broker and of its own Java client. */
  classPath(options: ActiveMqOptions): Promise<string[]>;
  /** Writes its configuration; answers the arguments that start it. */
  configure(setup: Setup): Promise<string[]>;
  /** Undefined: the greeting of OpenWire says it. */
  readonly version?: string;
  /** Package of the JMS interfaces that its client implements. */
  readonly jms: 'javax.jms' | 'jakarta.jms';
}

/** Where Debian's package has its jars. */
const libraries = '/usr/share/activemq/lib';
const classic = { group: 'org.apache.activemq', version: '6.3.1' };
const artemis = { group: 'org.apache.activemq', version: '2.44.0' };

const distributions: Record<Broker, Distribution> = {
  'ActiveMQ Classic 5': {
    async classPath({ amqp }) {
      if (!existsSync(join(libraries, 'activemq-broker.jar')))
        throw new ServerMissing('ActiveMQ', 'activemq');
      // Debian's package leaves the transport for AMQP 1.0 out; of what comes along with it, it has the rest.
      const jars = amqp
        ? await mavenJars('ActiveMQ', [
            { group: 'org.apache.activemq', name: 'activemq-amqp', version: '5.17.2' },
          ])
        : [];
      const extra = jars.filter((jar) => /\/(activemq-amqp|proton-j)-[^/]*\.jar$/.test(jar));
      return [`${libraries}/*`, `${libraries}/optional/*`, ...extra];
    },
    configure: configureClassic,
    jms: 'javax.jms',
  },
  'ActiveMQ Classic 6': {
    classPath: () =>
      mavenJars('ActiveMQ', [
        { ...classic, name: 'activemq-spring' },
        { ...classic, name: 'activemq-console' },
        { ...classic, name: 'activemq-kahadb-store' },
        { ...classic, name: 'activemq-jaas' },
        { ...classic, name: 'activemq-amqp' },
        { group: 'org.springframework', name: 'spring-context', version: '6.2.19' },
        { group: 'org.slf4j', name: 'slf4j-simple', version: '2.0.17' },
      ]),
    configure: configureClassic,
    jms: 'jakarta.jms',
  },
  Artemis: {
    classPath: () =>
      mavenJars('Artemis', [
        { ...artemis, name: 'artemis-server' },
        { ...artemis, name: 'artemis-openwire-protocol' },
        { ...artemis, name: 'artemis-amqp-protocol' },
        { group: 'org.slf4j', name: 'slf4j-simple', version: '2.0.17' },
      ]),
    configure: configureArtemis,
    version: artemis.version,
    jms: 'javax.jms',
  },
};

/** Starts a broker with accounts, persistence and TLS, and room for 200 kB in queues that begin with `full.`; throws `ServerMissing` without it, Java or Maven. */
export async function startActiveMq(options: ActiveMqOptions): Promise<ActiveMqService> {
  const java = needProgram('ActiveMQ', 'java');
  const openssl = needProgram('ActiveMQ', 'openssl');
  const { broker = 'ActiveMQ Classic 5' } = options;
  const distribution = distributions[broker];
  const jars = await distribution.classPath(options);
  const directory = await privateDirectory('activemq');
  const at = (...names: string[]) => join(directory.path, ...names);
  const host = '127.0.0.1';
  const [port, tlsPort, amqpPort, amqpsPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const accounts = {
    account: { user: 'writer', password: 'Canary-4ctive/mq+p' },
    stranger: { user: 'stranger', password: 'Canary-Str4nger' },
    reader: { user: 'reader', password: 'Canary-Re4der' },
  };
  const keyStore = { path: at('conf', 'broker.p12'), password: 'keystore' };
  const classPath = [at('conf'), ...jars].join(delimiter);
  const limits = [
    '-Xmx256m',
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
  ];
  let launch: string[] = [];
  let daemon: Daemon | undefined;

  const start = async () => {
    const started = startDaemon(java, [
      ...limits,
      `-Djava.io.tmpdir=${at('tmp')}`,
      '-cp',
      classPath,
      ...launch,
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
      keyStore.path,
      '-passout',
      `pass:${keyStore.password}`,
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
        keyStore.password,
      ]);
    }
    launch = await distribution.configure({
      ports: {
        tcp: port,
        ssl: tlsPort,
        ...(options.amqp ? { amqp: amqpPort, 'amqp+ssl': amqpsPort } : {}),
      },
      accounts,
      keyStore,
      trustStorePath: options.clientCaPem === undefined ? undefined : at('conf', 'clients.p12'),
      directory: directory.path,
      options,
    });
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host,
    port,
    server: {
      name: broker.replace(/ \d+$/, ''),
      version: async () => distribution.version ?? (await greetedVersion(host, port)),
    },
    tlsPort,
    amqpPort,
    amqpsPort,
    ...accounts,
    async java(sourceFile, ...args) {
      const source = (await readFile(sourceFile, 'utf8')).replaceAll('javax.jms', distribution.jms);
      const path = at('tmp', basename(sourceFile));
      await writeFile(path, source);
      const { stdout } = await run(java, [...limits, '-cp', classPath, path, ...args], {
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

/** Version that a broker of OpenWire says before anything is asked. */
async function greetedVersion(host: string, port: number): Promise<string> {
  const socket = connect({ host, port });
  let greeting = '';
  try {
    for await (const chunk of socket) {
      greeting += (chunk as Buffer).toString('latin1');
      // A string of two bytes of length follows the name of the property.
      const version = /ProviderVersion\t[\s\S]{2}([\d.]+)/.exec(greeting)?.[1];
      if (version) return version;
    }
  } finally {
    socket.destroy();
  }
  throw new Error('The broker does not say its version');
}

async function configureClassic(setup: Setup): Promise<string[]> {
  const at = (...names: string[]) => join(setup.directory, ...names);
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
  await writeFile(at('conf', 'activemq.xml'), classicConfiguration(setup));
  return [
    `-Dactivemq.home=${setup.directory}`,
    `-Dactivemq.base=${setup.directory}`,
    `-Dactivemq.conf=${at('conf')}`,
    `-Dactivemq.data=${at('data')}`,
    'org.apache.activemq.console.Main',
    'start',
    `xbean:file:${at('conf', 'activemq.xml')}`,
  ];
}

function classicConfiguration({
  ports,
  accounts,
  keyStore,
  trustStorePath,
  directory,
  options,
}: Setup): string {
  const data = join(directory, 'data');
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
      persistent="true" dataDirectory="${data}" useShutdownHook="true">
    <persistenceAdapter><kahaDB directory="${data}/kahadb" journalMaxFileLength="4mb"/></persistenceAdapter>
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
    <destinationPolicy><policyMap><policyEntries>
      <policyEntry queue="full.>" memoryLimit="200kb"><pendingQueuePolicy><vmQueueCursor/></pendingQueuePolicy></policyEntry>
    </policyEntries></policyMap></destinationPolicy>
    <systemUsage><systemUsage sendFailIfNoSpace="true"/></systemUsage>
    <transportConnectors>
      ${connectors.join('\n      ')}
    </transportConnectors>
  </broker>
</beans>
`;
}

async function configureArtemis(setup: Setup): Promise<string[]> {
  const { accounts, directory } = setup;
  const path = join(directory, 'conf', 'broker.xml');
  await writeFile(path, artemisConfiguration(setup));
  const account = ({ user, password }: Account, roles: string) => [user, password, roles];
  return [
    join(import.meta.dirname, 'activemq', 'ArtemisBroker.java'),
    path,
    ...account(accounts.account, 'admins'),
    ...account(accounts.stranger, 'others'),
    ...account(accounts.reader, 'others,readers'),
  ];
}

function artemisConfiguration({ ports, keyStore, trustStorePath, directory }: Setup): string {
  const data = join(directory, 'data');
  const acceptors = Object.entries(ports).map(([transport, port]) => {
    const secure = [
      'sslEnabled=true',
      `keyStorePath=${keyStore.path}`,
      'keyStoreType=PKCS12',
      `keyStorePassword=${keyStore.password}`,
      ...(trustStorePath
        ? [
            'needClientAuth=true',
            `trustStorePath=${trustStorePath}`,
            'trustStoreType=PKCS12',
            `trustStorePassword=${keyStore.password}`,
          ]
        : []),
    ];
    const options = [
      `protocols=${transport.startsWith('amqp') ? 'AMQP' : 'OPENWIRE'}`,
      ...(transport.endsWith('ssl') ? secure : []),
    ];
    return `<acceptor name="${transport}">tcp://127.0.0.1:${port}?${options.join(';')}</acceptor>`;
  });
  const rights = (match: string, roles: Record<string, string>) =>
    `<security-setting match="${match}">${Object.entries(roles)
      .map(([type, names]) => `<permission type="${type}" roles="${names}"/>`)
      .join('')}</security-setting>`;
  const every = (names: string) =>
    Object.fromEntries(
      [
        'createAddress',
        'deleteAddress',
        'createDurableQueue',
        'deleteDurableQueue',
        'createNonDurableQueue',
        'deleteNonDurableQueue',
        'consume',
        'browse',
        'send',
      ].map((type) => [type, names]),
    );
  return `<configuration xmlns="urn:activemq"><core xmlns="urn:activemq:core">
  <name>plugboard</name>
  <persistence-enabled>true</persistence-enabled>
  <journal-type>NIO</journal-type>
  <journal-directory>${data}/journal</journal-directory>
  <bindings-directory>${data}/bindings</bindings-directory>
  <large-messages-directory>${data}/large-messages</large-messages-directory>
  <paging-directory>${data}/paging</paging-directory>
  <journal-file-size>1M</journal-file-size>
  <journal-min-files>2</journal-min-files>
  <journal-pool-files>4</journal-pool-files>
  <max-disk-usage>-1</max-disk-usage>
  <critical-analyzer>false</critical-analyzer>
  <connection-ttl-check-interval>100</connection-ttl-check-interval>
  <acceptors>
    ${acceptors.join('\n    ')}
  </acceptors>
  <security-settings>
    ${rights('#', every('admins'))}
    ${rights('shared.#', { ...every('admins,readers'), send: 'admins' })}
    ${rights('ActiveMQ.Advisory.#', every('admins,others'))}
  </security-settings>
  <address-settings>
    <address-setting match="#"><max-size-bytes>100M</max-size-bytes></address-setting>
    <address-setting match="full.#"><max-size-bytes>200K</max-size-bytes><address-full-policy>FAIL</address-full-policy></address-setting>
  </address-settings>
</core></configuration>
`;
}
