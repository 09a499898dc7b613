import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Admin } from '@platformatic/kafka';
import { type Authority, type Certificate, createAuthority } from './certificates.ts';
import { mavenJars } from './maven.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitUntil,
} from './service.ts';

const run = promisify(execFile);

/** Version of Apache Kafka that is started: `PLUGBOARD_TEST_KAFKA_VERSION`, else the last line that runs on Java 11. */
export const kafkaVersion = process.env['PLUGBOARD_TEST_KAFKA_VERSION'] ?? '3.9.1';

const listeners = ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL', 'OAUTH', 'ADVERTISED'] as const;
export type KafkaListener = (typeof listeners)[number];

export interface KafkaOptions {
  /** Further settings of the broker, such as `auto.create.topics.enable`. */
  settings?: Record<string, string>;
  /** Where the listener ADVERTISED, in clear, says that clients find the broker. */
  advertised?: { host: string; port: number };
  /** Certificate of the TLS listeners; default one for localhost and 127.0.0.1. */
  certificate?: Certificate;
  authority?: Authority;
}

export interface KafkaService extends Service {
  /** Port of each listener; `port` is that of PLAINTEXT. OAUTH is SASL in clear with unsecured tokens. */
  readonly ports: Readonly<Record<KafkaListener, number>>;
  /** Authority of the TLS listeners and of client certificates. */
  readonly authority: Authority;
  /** An account of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, free to do everything. */
  readonly account: { readonly user: string; readonly password: string };
  /** An account that the access lists bind. */
  readonly reader: { readonly user: string; readonly password: string };
  createTopic(
    name: string,
    options?: { partitions?: number; settings?: Record<string, string> },
  ): Promise<void>;
  /** Denies a principal, `reader` unless told, an operation on the topic that all others keep. */
  deny(topic: string, operation: 'READ' | 'WRITE' | 'DESCRIBE', principal?: string): Promise<void>;
  /** Ends the broker at once, as a crash does, and keeps its ports and data. */
  kill(): Promise<void>;
  /** Starts it again on the same ports and data, after a crash where it runs. */
  restart(): Promise<void>;
}

/**
 * Starts a broker of the caller's own (one node, KRaft). Its jars come from Maven Central once, into
 * `PLUGBOARD_TEST_SERVICES_CACHE` or the user's cache. Throws `ServerMissing` without Java, or without
 * Maven where the cache is empty.
 */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaService> {
  const java = needProgram('Kafka', 'java');
  const jars = await mavenJars('Kafka', [
    { group: 'org.apache.kafka', name: 'kafka_2.13', version: kafkaVersion },
    { group: 'org.slf4j', name: 'slf4j-reload4j', version: '1.7.36' },
  ]);
  const classPath = jars.join(delimiter);
  const directory = await privateDirectory('kafka');
  const host = '127.0.0.1';
  const authority = options.authority ?? createAuthority();
  const certificate =
    options.certificate ?? authority.issue({ commonName: 'kafka.test', names: ['localhost'], ips: [host] });
  const account = { user: 'writer', password: 'Canary-Kafka-p4ss+word/1' };
  const reader = { user: 'reader', password: 'Canary-Kafka-r3ader+word/2' };
  const free = await freePorts(listeners.length + 1);
  const controllerPort = free.pop()!;
  const ports = Object.fromEntries(listeners.map((name, at) => [name, free[at]])) as Record<
    KafkaListener,
    number
  >;
  const config = join(directory.path, 'server.properties');
  const log4j = join(directory.path, 'log4j.properties');
  const keyStore = join(directory.path, 'broker.pem');
  const trustStore = join(directory.path, 'ca.pem');
  let daemon: Daemon | undefined;

  const javaArguments = [
    '-Xmx256m',
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    `-Dlog4j.configuration=file:${log4j}`,
  ];
  const start = async () => {
    daemon = startDaemon(java, [...javaArguments, '-cp', classPath, 'kafka.Kafka', config]);
    await waitUntil(daemon, () => answers(host, ports.PLAINTEXT), `port ${ports.PLAINTEXT}`, 180_000);
  };
  const end = async (signal: NodeJS.Signals) => {
    await daemon?.stop(signal);
    daemon = undefined;
  };
  const stop = async () => {
    await end('SIGKILL');
    await directory.remove();
  };
  const tool = (main: string, ...args: string[]) =>
    run(java, [
      '-Xmx128m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      `-Dlog4j.configuration=file:${log4j}`,
      '-cp',
      classPath,
      main,
      ...args,
    ]);

  try {
    await writeFile(keyStore, `${await pkcs8(certificate.keyPem)}${certificate.certPem}`);
    await writeFile(trustStore, authority.caPem);
    await writeFile(
      log4j,
      'log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\nlog4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=%p %c %m%n\n',
    );
    await writeFile(
      config,
      propertiesFile({
        ...brokerSettings({ host, ports, controllerPort, keyStore, trustStore, account, reader }),
        'log.dirs': join(directory.path, 'data'),
        'advertised.listeners': listeners
          .map((name) =>
            name === 'ADVERTISED' && options.advertised
              ? `${name}://${options.advertised.host}:${options.advertised.port}`
              : `${name}://${name.endsWith('SSL') ? 'localhost' : host}:${ports[name]}`,
          )
          .join(','),
        ...options.settings,
      }),
    );
    const scram = [account, reader].flatMap(({ user, password }) =>
      ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
        '--add-scram',
        `${mechanism}=[name=${user},password=${password}]`,
      ]),
    );
    await tool(
      'kafka.tools.StorageTool',
      'format',
      '--config',
      config,
      '--cluster-id',
      'cGx1Z2JvYXJkLXRlc3QtMQ',
      ...scram,
    );
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  const administrate = async <T>(work: (admin: Admin) => Promise<T>): Promise<T> => {
    const { Admin } = await import('@platformatic/kafka');
    const admin = new Admin({
      clientId: 'test',
      bootstrapBrokers: [`${host}:${ports.PLAINTEXT}`],
      retries: 5,
    });
    try {
      return await work(admin);
    } finally {
      await admin.close();
    }
  };
  return {
    host,
    server: { name: 'Apache Kafka', version: async () => kafkaVersion },
    port: ports.PLAINTEXT,
    ports,
    authority,
    account,
    reader,
    async createTopic(name, { partitions = 1, settings = {} } = {}) {
      await administrate((admin) =>
        admin.createTopics({
          topics: [name],
          partitions,
          replicas: 1,
          configs: Object.entries(settings).map(([setting, value]) => ({ name: setting, value })),
        }),
      );
    },
    async deny(topic, operation, principal = `User:${reader.user}`) {
      const { AclOperations, AclPermissionTypes, ResourcePatternTypes, ResourceTypes } = await import(
        '@platformatic/kafka'
      );
      const rule = {
        resourceType: ResourceTypes.TOPIC,
        resourceName: topic,
        resourcePatternType: ResourcePatternTypes.LITERAL,
        host: '*',
      };
      await administrate((admin) =>
        admin.createAcls({
          creations: [
            // A topic with any rule is closed to whom none allows.
            {
              ...rule,
              principal: 'User:*',
              operation: AclOperations.ALL,
              permissionType: AclPermissionTypes.ALLOW,
            },
            {
              ...rule,
              principal,
              operation: AclOperations[operation],
              permissionType: AclPermissionTypes.DENY,
            },
          ],
        }),
      );
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGKILL');
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function brokerSettings(given: {
  host: string;
  ports: Record<KafkaListener, number>;
  controllerPort: number;
  keyStore: string;
  trustStore: string;
  account: { user: string; password: string };
  reader: { user: string; password: string };
}): Record<string, string> {
  const { host, ports, controllerPort, account, reader } = given;
  const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_${account.user}="${account.password}" user_${reader.user}="${reader.password}";`;
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  const sasl = Object.fromEntries(
    ['sasl_plaintext', 'sasl_ssl'].flatMap((name) => [
      [`listener.name.${name}.sasl.enabled.mechanisms`, 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512'],
      [`listener.name.${name}.plain.sasl.jaas.config`, plain],
      [`listener.name.${name}.scram-sha-256.sasl.jaas.config`, scram],
      [`listener.name.${name}.scram-sha-512.sasl.jaas.config`, scram],
    ]),
  );
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@${host}:${controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    listeners: [
      ...Object.entries(ports).map(([name, port]) => `${name}://${host}:${port}`),
      `CONTROLLER://${host}:${controllerPort}`,
    ].join(','),
    'listener.security.protocol.map':
      'PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,OAUTH:SASL_PLAINTEXT,ADVERTISED:PLAINTEXT,CONTROLLER:PLAINTEXT',
    ...sasl,
    'listener.name.oauth.sasl.enabled.mechanisms': 'OAUTHBEARER',
    'listener.name.oauth.oauthbearer.sasl.jaas.config':
      'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': given.keyStore,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': given.trustStore,
    'ssl.client.auth': 'requested',
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'allow.everyone.if.no.acl.found': 'true',
    'super.users': `User:ANONYMOUS;User:${account.user}`,
    'auto.create.topics.enable': 'false',
    'num.partitions': '1',
    'offsets.topic.replication.factor': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'num.network.threads': '2',
    'num.io.threads': '2',
    'log.cleaner.enable': 'false',
    'controlled.shutdown.enable': 'false',
  };
}

/** Kafka reads private keys in PKCS#8 only. */
async function pkcs8(keyPem: string): Promise<string> {
  const { createPrivateKey } = await import('node:crypto');
  return createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'pem' }) as string;
}

async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

function propertiesFile(settings: Record<string, string>): string {
  return `${Object.entries(settings)
    .map(([name, value]) => `${name}=${value.replace(/\\/g, '\\\\')}`)
    .join('\n')}\n`;
}

/** Whether the broker answers a request: the port opens long before it does. */
function answers(host: string, port: number): Promise<boolean> {
  // ApiVersions, version 0, correlation 1, client "t".
  const request = Buffer.from('0000000b0012000000000001000174', 'hex');
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2000, () => finish(false));
    socket.once('connect', () => socket.write(request));
    socket.once('data', () => finish(true));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
  });
}
