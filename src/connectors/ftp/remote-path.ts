import { AppError } from '../../errors.ts';

/**
 * A path below the working directory, without `.` and empty parts; '' is the working directory itself.
 * Fails with `request_rejected` on what could lead out of it or break a command.
 */
export function relativePath(path: string): string {
  const refuse = (why: string) =>
    new AppError('request_rejected', `the path ${why}`, {
      details: {
        hint: 'Paths are relative to the working directory of the connection, such as in/orders.csv.',
      },
    });
  if (/[\x00-\x1f\x7f]/.test(path)) throw refuse('holds a control character');
  if (/^[/\\]/.test(path)) throw refuse('is absolute');
  // Windows servers take a backslash for a separator too.
  if (path.split(/[/\\]/).includes('..')) throw refuse("holds '..'");
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

/** As `relativePath`, but refuses the working directory itself. */
export function entryPath(path: string): string {
  const relative = relativePath(path);
  if (relative === '') throw new AppError('request_rejected', 'the path names the working directory itself');
  return relative;
}

export function splitPath(relative: string): { parent: string; base: string } {
  const at = relative.lastIndexOf('/');
  return { parent: at < 0 ? '' : relative.slice(0, at), base: relative.slice(at + 1) };
}

/** The path of another entry of the same directory. */
export function besides(relative: string, name: string): string {
  return relative.slice(0, relative.lastIndexOf('/') + 1) + name;
}

export function join(directory: string, name: string): string {
  if (name === '') return directory;
  return directory.endsWith('/') ? `${directory}${name}` : `${directory}/${name}`;
}

/** Fails with `permission_denied` when a directory, its links resolved, is not below the root. */
export function checkInside(root: string, resolved: string): void {
  if (
    resolved === root ||
    (resolved.startsWith(join(root, '')) && resolved.startsWith(root.endsWith('/') ? root : `${root}/`))
  )
    return;
  throw new AppError('permission_denied', 'the path leads out of the working directory, by a link');
}
