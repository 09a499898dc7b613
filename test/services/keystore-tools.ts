import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needProgram, privateDirectory } from './service.ts';

const run = promisify(execFile);

/** The real keytool and openssl, working on files in a directory of their own. */
export interface KeystoreTools extends AsyncDisposable {
  keytool(...args: string[]): Promise<void>;
  openssl(...args: string[]): Promise<void>;
  path(name: string): string;
  read(name: string): Promise<Buffer>;
  write(name: string, content: string | Buffer): Promise<void>;
}

/** Throws `ServerMissing` without the programs. */
export async function openKeystoreTools(): Promise<KeystoreTools> {
  const keytool = needProgram('Java keytool', 'keytool');
  const openssl = needProgram('OpenSSL', 'openssl');
  const directory = await privateDirectory('keystores');
  // Passwords beyond ASCII are read in the encoding of the locale.
  const env = { ...process.env, LC_ALL: 'C.UTF-8', LANG: 'C.UTF-8' };
  const options = { cwd: directory.path, env, timeout: 120_000 };
  const runToEnd = async (program: string, args: string[]) => {
    const running = run(program, args, options);
    // What would ask for more fails instead of waiting.
    running.child.stdin?.end();
    await running;
  };
  return {
    // The client compiler alone starts in half the time.
    keytool: (...args) => runToEnd(keytool, ['-J-XX:TieredStopAtLevel=1', '-J-Xshare:auto', ...args]),
    openssl: (...args) => runToEnd(openssl, args),
    path: (name) => join(directory.path, name),
    read: (name) => readFile(join(directory.path, name)),
    write: (name, content) => writeFile(join(directory.path, name), content),
    [Symbol.asyncDispose]: directory.remove,
  };
}

/**
 * An authority, an intermediate and what they issue, as files: `root`, `intermediate`, `server` (for
 * localhost and 127.0.0.1), `client` and `ec`, each with `.key` and `.pem`; `chain.pem` is the
 * intermediate and the root.
 */
export async function makeAuthority({ openssl, read, write }: KeystoreTools): Promise<void> {
  const rsa = ['-newkey', 'rsa:2048', '-noenc'];
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'];
  const ca = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=keyCertSign,cRLSign'];
  const leaf = ['-addext', 'basicConstraints=critical,CA:FALSE'];
  const make = (name: string, key: string[], subject: string, ...more: string[]) =>
    openssl(
      'req',
      '-x509',
      ...key,
      '-days',
      '30',
      '-subj',
      subject,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      ...more,
    );
  const by = (name: string) => ['-CA', `${name}.pem`, '-CAkey', `${name}.key`];
  await make('root', rsa, '/C=TR/O=Plugboard/CN=Test Root', ...ca);
  await make('intermediate', rsa, '/O=Plugboard/CN=Test Intermediate', ...ca, ...by('root'));
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
  await make('server', rsa, '/CN=localhost', ...leaf, '-addext', names, ...by('intermediate'));
  await make('client', rsa, '/CN=plugboard', ...leaf, ...by('intermediate'));
  await make('ec', ec, '/CN=plugboard-ec', ...leaf, ...by('root'));
  await write('chain.pem', Buffer.concat([await read('intermediate.pem'), await read('root.pem')]));
}
