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
  waitUntil,
} from './service.ts';

/** The last line that runs on Java 17. */
const VERSION = '435';
/** Of Airlift, as that line has it: Trino's own parent manages it, which its dependents do not inherit. */
const AIRLIFT_VERSION = '239';
const airlift = ['discovery', 'http-client', 'http-server', 'jaxrs', 'jmx', 'node', 'trace-token', 'tracing'];

export interface TrinoService extends Service {
  /** Of the listener with TLS and log-in; 0 without a certificate. */
  readonly tlsPort: number;
  /** The account that is let in over TLS. */
  readonly account: { readonly user: string; readonly password: string };
  /** Ends its sockets and starts it again at the same address, empty. */
  restart(): Promise<void>;
}

/**
 * Starts a coordinator of the caller's own with the catalog `memory`: in clear without log-in and, where
 * a certificate is given, over TLS with one. Throws `ServerMissing` without Java or its jars.
 */
export async function startTrino(options: { certificate?: Certificate } = {}): Promise<TrinoService> {
  const java = needProgram('Trino', 'java');
  const jars = await mavenJars('Trino', [
    { group: 'io.trino', name: 'trino-testing', version: VERSION },
    { group: 'io.trino', name: 'trino-memory', version: VERSION },
    ...airlift.map((name) => ({ group: 'io.airlift', name, version: AIRLIFT_VERSION })),
  ]);
  const directory = await privateDirectory('trino');
  const account = { user: 'analyst', password: 'Canary-Trino-p4ss+word/1' };
  const port = await freePort();
  const tlsPort = options.certificate ? await freePort() : 0;
  const secured: string[] = [];
  if (options.certificate) {
    const pem = join(directory.path, 'server.pem');
    const key = createPrivateKey(options.certificate.keyPem).export({ type: 'pkcs8', format: 'pem' });
    await writeFile(pem, `${key}${options.certificate.certPem}`);
    secured.push(String(tlsPort), pem, account.user, account.password);
  }
  let daemon: Daemon | undefined;
  const start = async () => {
    daemon = startDaemon(java, [
      '-Xmx512m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-cp',
      jars.join(delimiter),
      join(import.meta.dirname, 'trino', 'TrinoPeer.java'),
      String(port),
      ...secured,
    ]);
    const { output } = daemon;
    await waitUntil(daemon, () => output().includes('TrinoPeer is ready'), 'the coordinator', 180_000);
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
    server: { name: 'Trino', version: async () => VERSION },
    port,
    tlsPort,
    account,
    async restart() {
      await daemon?.stop('SIGKILL');
      await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
