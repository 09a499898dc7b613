import { execFile } from 'node:child_process';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needProgram, privateDirectory, ServerMissing } from './service.ts';

const run = promisify(execFile);

export interface SmallDisk {
  /** Where it is mounted; everybody may write there. */
  readonly path: string;
  stop(): Promise<void>;
}

/** A disk of its own in memory of so many bytes, to be filled; throws `ServerMissing` where this process may not mount one. */
export async function mountSmallDisk(bytes: number): Promise<SmallDisk> {
  const mount = needProgram('A full disk', 'mount');
  if (process.getuid?.() !== 0) throw new ServerMissing('A full disk', 'the right to mount one (root)');
  const directory = await privateDirectory('small-disk');
  const path = join(directory.path, 'disk');
  await mkdir(path);
  await chmod(directory.path, 0o755);
  try {
    await run(mount, ['-t', 'tmpfs', '-o', `size=${bytes},mode=0777`, 'tmpfs', path]);
  } catch {
    // In a container even root may be without it.
    await directory.remove();
    throw new ServerMissing('A full disk', 'the right to mount one');
  }
  return {
    path,
    async stop() {
      await run(needProgram('A full disk', 'umount'), ['--lazy', path]);
      await directory.remove();
    },
  };
}
