import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { programVersion } from './proof.ts';
import {
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

export interface TrapUser {
  name: string;
  /** As in snmptrapd.conf: MD5, SHA, SHA-224, SHA-256, SHA-384, SHA-512. */
  authentication?: string;
  authPassphrase?: string;
  /** As in snmptrapd.conf: DES, AES, AES-192, AES-256, AES-192-C, AES-256-C. */
  privacy?: string;
  privPassphrase?: string;
  /** Hexadecimal, of the sender: for traps; left out: for informs. */
  engineId?: string;
}

export interface Notification {
  /** Kind, version and user or community, as snmptrapd says it: `TRAP2, SNMP v3, user alice, context `. */
  security: string;
  /** Of a trap of V1. */
  enterprise?: string;
  /** OID (leading dot) → value, with its type in front. */
  variables: Record<string, string>;
}

export interface SnmptrapdService extends Service {
  readonly community: string;
  /** Everything logged so far, across restarts. */
  notifications(): Promise<Notification[]>;
  /** Waits until so many satisfy the condition, and answers them. */
  received(condition: (notification: Notification) => boolean, count?: number): Promise<Notification[]>;
  /** Ends it with its sockets and starts it again on the same port. */
  restart(): Promise<void>;
}

/** snmptrapd on one port of UDP and TCP, with a community and users of its own. */
export async function startSnmptrapd(users: readonly TrapUser[] = []): Promise<SnmptrapdService> {
  const program = needProgram('snmptrapd', 'snmptrapd');
  const directory = await privateDirectory('snmptrapd');
  const at = (name: string) => join(directory.path, name);
  const community = 'canary-community';
  const port = await freePort();
  await writeFile(
    at('conf'),
    [
      `authCommunity log ${community}`,
      ...users.map(({ name }) => `authUser log ${name} noauth`),
      // snmptrapd takes one user per name and engine.
      ...users.map((user) =>
        [
          'createUser',
          user.engineId ? `-e 0x${user.engineId}` : '',
          user.name,
          user.authentication ? `${user.authentication} "${user.authPassphrase}"` : '',
          user.privacy ? `${user.privacy} "${user.privPassphrase}"` : '',
        ].join(' '),
      ),
      'format1 |%P|%N.%w%q|%v|end\\n',
      'format2 |%P||%v|end\\n',
      '',
    ].join('\n'),
  );
  const start = async () => {
    const started = startDaemon(
      program,
      ['-f', '-C', '-A', '-n', '-t', '-Onta', '-c', at('conf'), '-Lf', at('log'), '-p', at('pid')].concat([
        `udp:127.0.0.1:${port}`,
        `tcp:127.0.0.1:${port}`,
      ]),
      { env: { ...process.env, SNMP_PERSISTENT_DIR: at('state'), MIBS: '' } },
    );
    await waitForPort(started, port);
    return started;
  };
  let daemon = await start().catch(async (error: unknown) => {
    await directory.remove();
    throw error;
  });
  const notifications = async () => {
    const log = await readFile(at('log'), 'utf8').catch(() => '');
    return [...log.matchAll(/^\|([^|]*)\|([^|]*)\|(.*?)\|end$/gms)].map(
      ([, security, enterprise, variables]) => ({
        security: security!,
        ...(enterprise ? { enterprise } : {}),
        variables: Object.fromEntries(
          variables!.split('\t').map((variable) => {
            const equals = variable.indexOf(' = ');
            return [variable.slice(0, equals), variable.slice(equals + 3)];
          }),
        ),
      }),
    );
  };
  const stop = async () => {
    await daemon.stop();
    await directory.remove();
  };
  return {
    host: '127.0.0.1',
    server: { name: 'snmptrapd', version: () => programVersion(program, '-v') },
    port,
    community,
    notifications,
    async received(condition, count = 1) {
      const deadline = Date.now() + 20_000;
      for (;;) {
        const found = (await notifications()).filter(condition);
        if (found.length >= count) return found;
        if (Date.now() > deadline)
          throw new Error(
            `${found.length} of ${count} notifications arrived:\n${daemon.output()}\n${await readFile(at('log'), 'utf8').catch(() => 'no log')}`,
          );
        await sleep(50);
      }
    },
    async restart() {
      await daemon.stop();
      daemon = await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
