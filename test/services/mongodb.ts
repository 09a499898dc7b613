import { createPrivateKey } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Certificate } from './certificates.ts';
import { mavenJars } from './maven.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

const VERSION = '1.47.0';

export interface MongodbService extends Service {
  /** Ends its sockets and starts it again at the same address, empty. */
  restart(): Promise<void>;
}

/**
 * Starts a server of MongoDB's protocol of the caller's own: mongo-java-server, in memory, without
 * log-in; over TLS where a certificate is given. Throws `ServerMissing` without Java or its jars.
 */
export async function startMongodb(options: { certificate?: Certificate } = {}): Promise<MongodbService> {
  const java = needProgram('MongoDB', 'java');
  const jars = await mavenJars('MongoDB', [
    { group: 'de.bwaldvogel', name: 'mongo-java-server', version: VERSION },
  ]);
  const directory = await privateDirectory('mongodb');
  const port = await freePort();
  const files: string[] = [];
  if (options.certificate) {
    files.push(join(directory.path, 'server.crt'), join(directory.path, 'server.key'));
    await writeFile(files[0]!, options.certificate.certPem);
    // Java reads private keys in PKCS#8 only.
    const key = createPrivateKey(options.certificate.keyPem).export({ type: 'pkcs8', format: 'pem' });
    await writeFile(files[1]!, key);
  }
  const main = join(import.meta.dirname, 'mongodb', 'MongoPeer.java');
  let daemon: Daemon | undefined;
  const start = async () => {
    daemon = startDaemon(java, [
      '-Xmx128m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-cp',
      jars.join(delimiter),
      main,
      String(port),
      ...files,
    ]);
    await waitForPort(daemon, port, 120_000);
  };
  const stop = async () => {
    await daemon?.stop('SIGKILL');
    await directory.remove();
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host: '127.0.0.1',
    server: { name: 'mongo-java-server', version: async () => VERSION },
    port,
    async restart() {
      await daemon?.stop('SIGKILL');
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
