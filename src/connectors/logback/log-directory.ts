import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { AppError } from '../../errors.ts';

/**
 * Makes the directory of a file, and answers where it really is. Fails with `invalid_configuration`
 * when links lead it out of the directories that the worker's operator allows.
 */
export async function makeDirectory(filePath: string, roots: readonly string[]): Promise<string> {
  if (roots.length === 0)
    throw new AppError(
      'invalid_configuration',
      'logPath: no directory is allowed on this worker; its operator sets PLUGBOARD_WORKER_LOG_ROOTS',
    );
  const real = await realRoots(roots);
  const wanted = resolve(dirname(filePath));
  const { existing, missing } = await deepestExisting(wanted);
  assertInside(join(existing, missing), real, wanted);
  if (missing !== '') await mkdir(join(existing, missing), { recursive: true });
  // Somebody may have put a link in the way meanwhile.
  const made = await realpath(join(existing, missing));
  assertInside(made, real, wanted);
  if (!(await stat(made)).isDirectory())
    throw new AppError('invalid_configuration', `logPath: ${wanted} is not a directory`);
  return made;
}

/** Opens a file in such a directory to append to it; a link in its place is not followed. */
export async function openForAppend(filePath: string, roots: readonly string[]): Promise<FileHandle> {
  const directory = await makeDirectory(filePath, roots);
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY, O_NONBLOCK } = constants;
  const handle = await open(
    join(directory, basename(filePath)),
    O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK,
    0o644,
  );
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new AppError('invalid_configuration', `${filePath} is not a file`);
}

/** The root that the directory lies in, and is not itself; undefined: none. */
export async function rootAbove(directory: string, roots: readonly string[]): Promise<string | undefined> {
  return (await realRoots(roots)).find((root) => directory !== root && isInside(directory, root));
}

async function realRoots(roots: readonly string[]): Promise<string[]> {
  return Promise.all(roots.map((root) => realpath(root).catch(() => resolve(root))));
}

async function deepestExisting(path: string): Promise<{ existing: string; missing: string }> {
  for (let at = path; ; at = dirname(at)) {
    try {
      return { existing: await realpath(at), missing: relative(at, path) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' || dirname(at) === at) throw error;
    }
  }
}

function assertInside(directory: string, roots: readonly string[], wanted: string): void {
  if (roots.some((root) => isInside(directory, root))) return;
  throw new AppError(
    'invalid_configuration',
    `logPath: ${wanted} lies outside of the directories that the worker's operator allows by PLUGBOARD_WORKER_LOG_ROOTS`,
  );
}

function isInside(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`);
}
