import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { type FileHandle, link, mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** 32 random bytes from which every key is derived; as a KeyObject no log can print it. */
export type MasterKey = KeyObject;

const keyBytes = 32;
const openToOthers = 0o077;

/**
 * Master keys, the newest first: from `value`, else from `file`, else from `master.key` in the secrets
 * directory, which the first start makes. Throws an Error that names the variable or file and the fix.
 */
export async function loadMasterKeys(options: {
  value?: string;
  file?: string;
  secretsDirectory: string;
}): Promise<MasterKey[]> {
  const { value, file, secretsDirectory } = options;
  if (value !== undefined) return parse(value, 'PLUGBOARD_MASTER_KEY');
  if (file !== undefined) {
    const text = await readPrivate(file);
    if (text === undefined) throw new Error(`PLUGBOARD_MASTER_KEY_FILE names ${file}, which does not exist`);
    return parse(text, `the file ${file} of PLUGBOARD_MASTER_KEY_FILE`);
  }
  await makePrivateDirectory(secretsDirectory);
  const path = join(secretsDirectory, 'master.key');
  const text = (await readPrivate(path)) ?? (await makeKeyFile(secretsDirectory, path));
  return parse(text, `the file ${path}`);
}

function parse(text: string, source: string): MasterKey[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== '');
  const fix = 'give 32 random bytes in base64, as `openssl rand -base64 32` prints them';
  if (words.length === 0) throw new Error(`There is no master key in ${source}: ${fix}`);
  return words.map((word, index) => {
    const bytes = Buffer.from(word, 'base64');
    const plain = word.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
    // Node skips what is no base64, so that a mistyped key would silently be another one.
    if (bytes.length !== keyBytes || bytes.toString('base64').replace(/=+$/, '') !== plain)
      throw new Error(`Master key ${index + 1} of ${words.length} in ${source} is not usable: ${fix}`);
    return createSecretKey(bytes);
  });
}

async function readPrivate(path: string): Promise<string | undefined> {
  let handle: FileHandle | undefined;
  let mode: number;
  let text: string;
  try {
    handle = await open(path, 'r');
    mode = (await handle.stat()).mode;
    text = await handle.readFile('utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`The master key file ${path} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    await handle?.close();
  }
  if (mode & openToOthers)
    throw new Error(`Others can read the master key file ${path}: run \`chmod 600 ${path}\``);
  return text;
}

async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  if ((await stat(path)).mode & openToOthers)
    throw new Error(`Others can enter the secrets directory ${path}: run \`chmod 700 ${path}\``);
}

/** Whole or not at all, and never over another process's key: it is written beside and linked. */
async function makeKeyFile(directory: string, path: string): Promise<string> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(`${randomBytes(keyBytes).toString('base64')}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(draft, { force: true });
  }
  const handle = await open(directory, 'r');
  await handle.sync().finally(() => handle.close());
  return (await readPrivate(path))!;
}
