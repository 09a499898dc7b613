import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { basename, delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
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

const VERSION = '4.0.1';
/** Of Hadoop, as that version has it: local execution and the classes of HDFS. */
const HADOOP_VERSION = '3.3.6';
const KEYSTORE_PASSWORD = 'keystore-of-a-test';
const LOGGING = `log4j.rootLogger=ERROR, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
`;
/** What Hadoop and Hive reach into of Java 17. */
const opened = [
  ...['lang', 'lang.reflect', 'io', 'net', 'nio', 'util', 'util.concurrent', 'util.concurrent.atomic'],
  ...['util.regex', 'time', 'text'],
].map((name) => `java.base/java.${name}`);

export interface HiveService extends Service {
  /** The account that is let in where it logs in. */
  readonly account: { readonly user: string; readonly password: string };
  /** Ends its sockets and starts it again at the same address, empty. */
  restart(): Promise<void>;
}

/**
 * Starts a HiveServer2 of the caller's own with an embedded metastore in memory and local execution:
 * without SASL and log-in or, with `logIn`, by SASL PLAIN; with a certificate over TLS. Throws
 * `ServerMissing` without Java, its compiler or its jars.
 */
export async function startHive(options: {
  logIn: boolean;
  certificate?: Certificate;
}): Promise<HiveService> {
  const java = needProgram('HiveServer2', 'java');
  const compiler = needProgram('HiveServer2', 'javac');
  const fetched = await mavenJars('HiveServer2', [
    // Its parser of SAML is not in Maven Central.
    {
      group: 'org.apache.hive',
      name: 'hive-service',
      version: VERSION,
      exclusions: ['org.pac4j:pac4j-saml-opensamlv3'],
    },
    { group: 'org.apache.hive', name: 'hive-standalone-metastore-server', version: VERSION },
    { group: 'org.apache.hadoop', name: 'hadoop-common', version: HADOOP_VERSION },
    { group: 'org.apache.hadoop', name: 'hadoop-mapreduce-client-jobclient', version: HADOOP_VERSION },
    { group: 'org.apache.hadoop', name: 'hadoop-mapreduce-client-common', version: HADOOP_VERSION },
    { group: 'org.apache.hadoop', name: 'hadoop-hdfs', version: HADOOP_VERSION },
  ]);
  // A Hadoop in one jar beside that in many, and second loggers.
  const wanted = fetched.filter((jar) => !/hadoop-client-api|slf4j-log4j12|log4j-slf4j-impl/.test(jar));
  const directory = await privateDirectory('hive');
  const within = (...path: string[]) => join(directory.path, ...path);
  await mkdir(within('jars'));
  // Hadoop takes the + of the cache's names for a space.
  const jars = await Promise.all(
    wanted.map(async (jar) => {
      const path = within('jars', basename(jar));
      await link(jar, path).catch(() => copyFile(jar, path));
      return path;
    }),
  );
  const account = { user: 'analyst', password: 'Canary-Hive-p4ss+word/1' };
  const port = await freePort();
  const settings: Record<string, string> = {
    'javax.jdo.option.ConnectionURL': 'jdbc:derby:memory:metastore;create=true',
    'datanucleus.schema.autoCreateAll': 'true',
    'hive.metastore.schema.verification': 'false',
    'hive.metastore.warehouse.dir': `file://${within('warehouse')}`,
    'hive.metastore.warehouse.external.dir': `file://${within('external')}`,
    'hive.exec.scratchdir': `file://${within('scratch')}`,
    'hive.exec.local.scratchdir': within('local'),
    'hive.downloaded.resources.dir': within('resources'),
    'hadoop.tmp.dir': within('hadoop'),
    'fs.defaultFS': 'file:///',
    'mapreduce.framework.name': 'local',
    'hive.execution.engine': 'mr',
    'hive.stats.autogather': 'false',
    'hive.metastore.event.db.notification.api.auth': 'false',
    'hive.server2.thrift.bind.host': '127.0.0.1',
    'hive.server2.thrift.port': String(port),
    'hive.server2.webui.port': '0',
    'hive.server2.enable.doAs': 'false',
    'hive.server2.logging.operation.enabled': 'false',
    'hive.server2.materializedviews.registry.impl': 'DUMMY',
    'hive.server2.authentication': options.logIn ? 'CUSTOM' : 'NOSASL',
    'hive.server2.custom.authentication.class': 'HivePeer$Account',
  };
  let daemon: Daemon | undefined;
  const start = async () => {
    const server = startDaemon(
      java,
      [
        '-Xmx768m',
        '-XX:+UseSerialGC',
        '-XX:TieredStopAtLevel=1',
        `-Dderby.system.home=${directory.path}`,
        ...[...opened, 'java.base/sun.nio.ch', 'java.sql/java.sql'].flatMap((name) => [
          '--add-opens',
          `${name}=ALL-UNNAMED`,
        ]),
        '-cp',
        // Others hold older versions of what Hive's own brings along: which is first is not left to chance.
        [directory.path, ...jars.toSorted((a, b) => rank(a) - rank(b))].join(delimiter),
        'HivePeer',
      ],
      {
        cwd: directory.path,
        env: { ...process.env, HIVE_PEER_USER: account.user, HIVE_PEER_PASSWORD: account.password },
      },
    );
    daemon = server;
    await waitUntil(server, () => server.output().includes('HivePeer is ready'), 'HiveServer2', 180_000);
  };
  const stop = async () => {
    await daemon?.stop('SIGKILL');
    await directory.remove();
  };
  try {
    if (options.certificate) {
      const key = createPrivateKey(options.certificate.keyPem).export({ type: 'pkcs8', format: 'pem' });
      await writeFile(within('server.pem'), `${key}${options.certificate.certPem}`);
      const openssl = needProgram('HiveServer2', 'openssl');
      const store = ['-export', '-in', within('server.pem'), '-out', within('server.p12')];
      await run(openssl, ['pkcs12', ...store, '-passout', `pass:${KEYSTORE_PASSWORD}`]);
      settings['hive.server2.use.SSL'] = 'true';
      settings['hive.server2.keystore.path'] = within('server.p12');
      settings['hive.server2.keystore.password'] = KEYSTORE_PASSWORD;
      settings['hive.server2.keystore.type'] = 'PKCS12';
    }
    const properties = Object.entries(settings).map(
      ([name, value]) => `<property><name>${name}</name><value>${value}</value></property>`,
    );
    await writeFile(within('log4j.properties'), LOGGING);
    await writeFile(within('hive-site.xml'), `<configuration>${properties.join('')}</configuration>`);
    const source = join(import.meta.dirname, 'hive', 'HivePeer.java');
    await run(compiler, ['-proc:none', '-nowarn', '-cp', jars.join(delimiter), '-d', directory.path, source]);
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host: '127.0.0.1',
    server: { name: 'HiveServer2', version: async () => VERSION },
    port,
    account,
    async restart() {
      await daemon?.stop('SIGKILL');
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

const rank = (jar: string) => (basename(jar).startsWith('hive-exec') ? 0 : 1);
