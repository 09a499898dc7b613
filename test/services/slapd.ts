import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
import { programVersion } from './proof.ts';
import {
  type Daemon,
  freePort,
  needProgram,
  privateDirectory,
  type Service,
  startDaemon,
  waitForPort,
} from './service.ts';

const run = promisify(execFile);

export interface SlapdOptions {
  /** With it StartTLS and `ldapsPort` work. */
  certificate?: Certificate;
  /** Entries (LDIF) below `suffix`, which itself is there. */
  entries: string;
  /** Further lines of slapd.conf, before the database. */
  config?: string[];
  /** Further lines of the database. */
  databaseConfig?: string[];
}

export interface SlapdService extends Service {
  readonly ldapsPort: number;
  readonly suffix: string;
  readonly adminDn: string;
  readonly adminPassword: string;
  /** Ends the server and its connections, and starts it again on the same ports and data. */
  restart(): Promise<void>;
}

/** OpenLDAP with a database and ports of its own; throws `ServerMissing` without it. */
export async function startSlapd(options: SlapdOptions): Promise<SlapdService> {
  const slapd = needProgram('slapd', 'slapd');
  const slapadd = needProgram('slapd', 'slapadd');
  const directory = await privateDirectory('slapd');
  const at = (name: string) => join(directory.path, name);
  const [port, ldapsPort] = [await freePort(), await freePort()];
  const suffix = 'dc=example,dc=com';
  const adminDn = `cn=admin,${suffix}`;
  const adminPassword = 'Canary-p4ss/w+rd=ldap';
  const { certificate } = options;
  let daemon: Daemon | undefined;

  const start = async () => {
    const urls = [`ldap://127.0.0.1:${port}/`, ...(certificate ? [`ldaps://127.0.0.1:${ldapsPort}/`] : [])];
    daemon = startDaemon(slapd, ['-f', at('slapd.conf'), '-h', urls.join(' '), '-d', '0']);
    await waitForPort(daemon, port);
    if (certificate) await waitForPort(daemon, ldapsPort);
  };
  const shutDown = async () => {
    await daemon?.stop();
    daemon = undefined;
  };
  const stop = async () => {
    await shutDown();
    await directory.remove();
  };

  try {
    await mkdir(at('data'));
    if (certificate) {
      await writeFile(at('cert.pem'), certificate.certPem);
      await writeFile(at('key.pem'), certificate.keyPem, { mode: 0o600 });
    }
    await writeFile(
      at('slapd.conf'),
      [
        'include /etc/ldap/schema/core.schema',
        'include /etc/ldap/schema/cosine.schema',
        'include /etc/ldap/schema/inetorgperson.schema',
        'modulepath /usr/lib/ldap',
        'moduleload back_mdb',
        `pidfile ${at('pid')}`,
        ...(certificate
          ? [`TLSCertificateFile ${at('cert.pem')}`, `TLSCertificateKeyFile ${at('key.pem')}`]
          : []),
        ...(options.config ?? []),
        'database mdb',
        `suffix "${suffix}"`,
        `directory ${at('data')}`,
        `rootdn "${adminDn}"`,
        `rootpw ${adminPassword}`,
        ...(options.databaseConfig ?? []),
        '',
      ].join('\n'),
    );
    await writeFile(
      at('init.ldif'),
      `dn: ${suffix}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n${options.entries}`,
    );
    await run(slapadd, ['-f', at('slapd.conf'), '-l', at('init.ldif')]);
    await start();
    return {
      host: '127.0.0.1',
      server: { name: 'OpenLDAP slapd', version: () => programVersion(slapd, '-VV') },
      port,
      ldapsPort,
      suffix,
      adminDn,
      adminPassword,
      async restart() {
        await shutDown();
        await start();
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
