/**
 * What the live suites proved, as `docs/reference/connectors.md` says it.
 *
 * Without arguments it runs them all and rewrites `src/connectors/proven.json`; `write DIRECTORY` does so
 * from what a run noted in the directory (PLUGBOARD_PROOF_DIRECTORY). `check DIRECTORY` compares the two,
 * and fails on what is claimed but was not exercised; versions may differ in what follows the first two
 * numbers.
 */
import { spawnSync } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { definitions } from '../src/connectors/definitions.ts';
import type { Proof } from '../test/services/proof.ts';
import { privateDirectory } from '../test/services/service.ts';

const root = join(import.meta.dirname, '..');
const committed = join(root, 'src', 'connectors', 'proven.json');

/** The proofs of a run, of one entry a connector, server and version. */
async function collect(directory: string): Promise<Proof[]> {
  const merged = new Map<string, Proof>();
  for (const file of await readdir(directory)) {
    const proofs = JSON.parse(await readFile(join(directory, file), 'utf8')) as Proof[];
    for (const proof of proofs) {
      const key = [proof.connector, proof.server, proof.version].join('\n');
      const tests = new Set([...(merged.get(key)?.tests ?? []), ...proof.tests]);
      merged.set(key, { ...proof, tests: [...tests].sort() });
    }
  }
  return [...merged.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, proof]) => proof);
}

async function check(directory: string): Promise<void> {
  const claimed = JSON.parse(await readFile(committed, 'utf8')) as Proof[];
  const found = await collect(directory);
  const line = (version: string) => version.split('.').slice(0, 2).join('.');
  const faults = claimed.flatMap(({ connector, server, version, tests }) => {
    const what = `${connector}: ${server} ${version}`;
    const proof = found.find(
      (each) =>
        each.connector === connector && each.server === server && line(each.version) === line(version),
    );
    if (!proof) return [`${what} was not exercised`];
    return tests.filter((name) => !proof.tests.includes(name)).map((name) => `${what}: not proven: ${name}`);
  });
  if (faults.length === 0) return;
  console.error([...faults, 'Run `npm run docs:proven`, and commit what it writes.'].join('\n'));
  process.exitCode = 1;
}

async function write(directory: string): Promise<void> {
  const proofs = (await collect(directory)).filter(({ connector }) => connectors.has(connector));
  const idle = proofs.find(({ tests }) => tests.length === 0);
  if (idle)
    throw new Error(`Nothing passed against ${idle.server}: ${idle.connector}'s suite names no scope`);
  await writeFile(committed, `${JSON.stringify(proofs, null, 2)}\n`);
}

async function rewrite(): Promise<void> {
  const directory = await privateDirectory('proofs');
  try {
    const { status } = spawnSync(
      process.execPath,
      ['--test', '--test-concurrency=1', 'src/connectors/**/*.live.test.ts'],
      {
        cwd: root,
        stdio: 'inherit',
        env: {
          ...process.env,
          REQUIRE_ALL_SERVICES: '1',
          PLUGBOARD_PROOF_DIRECTORY: directory.path,
        },
      },
    );
    if (status !== 0) throw new Error('The live suites failed: nothing was written');
    await write(directory.path);
  } finally {
    await directory.remove();
  }
}

const connectors = new Set(Object.keys(definitions).map((type) => type.toLowerCase()));
const [command, directory] = process.argv.slice(2);
if (command === undefined) await rewrite();
else if (command === 'check' && directory !== undefined) await check(directory);
else if (command === 'write' && directory !== undefined) await write(directory);
else throw new Error('usage: proofs.ts [check DIRECTORY | write DIRECTORY]');
