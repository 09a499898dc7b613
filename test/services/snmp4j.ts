import { delimiter, join } from 'node:path';
import { mavenJars } from './maven.ts';
import { freePort, needProgram, type Service, startDaemon, waitUntil } from './service.ts';

export interface Snmp4jService extends Service {
  /** Lines such as `INFORM MD5-Priv3DES hello`: type, user, value of the third variable. */
  received(): string[];
}

const VERSION = '3.8.2';

/**
 * A receiver made of SNMP4J on a UDP port, with users such as `SHA-PrivAES256`, all of the same two
 * passphrases. Throws `ServerMissing` without a JDK, or without Maven where its jar is not there yet.
 */
export async function startSnmp4j(authPassphrase: string, privPassphrase: string): Promise<Snmp4jService> {
  needProgram('SNMP4J', 'javac');
  const java = needProgram('SNMP4J', 'java');
  const jars = await mavenJars('SNMP4J', [{ group: 'org.snmp4j', name: 'snmp4j', version: VERSION }]);
  const port = await freePort();
  const main = join(import.meta.dirname, 'snmp4j', 'TrapPeer.java');
  const daemon = startDaemon(java, [
    '-cp',
    jars.join(delimiter),
    main,
    String(port),
    authPassphrase,
    privPassphrase,
  ]);
  await waitUntil(daemon, () => /^ready$/m.test(daemon.output()), 'ready');
  const stop = () => daemon.stop();
  return {
    host: '127.0.0.1',
    server: { name: 'SNMP4J', version: async () => VERSION },
    port,
    received: () => daemon.output().split('\n'),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
