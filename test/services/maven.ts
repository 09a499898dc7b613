import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram, privateDirectory, ServerMissing } from './service.ts';

const run = promisify(execFile);

export interface Artifact {
  readonly group: string;
  readonly name: string;
  readonly version: string;
  /** `group:name` of what it names but is not needed, such as what Maven Central lacks. */
  readonly exclusions?: readonly string[];
}

/**
 * Paths of the jars of some artifacts and all that they need, fetched from Maven Central once into
 * `PLUGBOARD_TEST_SERVICES_CACHE` or the user's cache. Throws `ServerMissing`, in the name of `server`,
 * without Maven where the cache is empty.
 */
export async function mavenJars(server: string, artifacts: readonly Artifact[]): Promise<string[]> {
  const cache =
    process.env['PLUGBOARD_TEST_SERVICES_CACHE'] ?? join(homedir(), '.cache', 'plugboard-test-services');
  const path = join(cache, artifacts.map(({ name, version }) => `${name}-${version}`).join('+'));
  const kept = await readdir(path).catch(() => undefined);
  if (kept) return kept.map((jar) => join(path, jar));
  const maven = findProgram('mvn');
  if (!maven) throw new ServerMissing(server, `mvn (to fetch its jars into ${path})`);
  await mkdir(cache, { recursive: true });
  const directory = await privateDirectory('jars');
  // Beside the cache's own entries, so that a rename suffices; another test may be fetching at the same time.
  const fetched = `${path}.${process.pid}`;
  try {
    const dependencies = artifacts.map(
      ({ group, name, version, exclusions = [] }) =>
        `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version><exclusions>${exclusions.map(excluded).join('')}</exclusions></dependency>`,
    );
    await writeFile(
      join(directory.path, 'pom.xml'),
      `<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>jars</artifactId><version>1</version><dependencies>${dependencies.join('')}</dependencies></project>`,
    );
    await run(maven, ['-q', '-B', 'dependency:copy-dependencies', `-DoutputDirectory=${fetched}`], {
      cwd: directory.path,
    });
    await rename(fetched, path).catch(async (error: unknown) => {
      if (!(await readdir(path).catch(() => undefined))) throw error;
    });
    return (await readdir(path)).map((jar) => join(path, jar));
  } finally {
    await rm(fetched, { recursive: true, force: true });
    await directory.remove();
  }
}

function excluded(artifact: string): string {
  const [group, name] = artifact.split(':');
  return `<exclusion><groupId>${group}</groupId><artifactId>${name}</artifactId></exclusion>`;
}
