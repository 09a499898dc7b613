import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterEach } from 'node:test';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A server that tests ran against. */
export interface ServerIdentity {
  readonly name: string;
  /** Version, as the server itself reports it. */
  version(): Promise<string>;
}

/** What one suite proved of a connector: `docs/reference/connectors.md` is made of these. */
export interface Proof {
  /** Folder of the connector. */
  readonly connector: string;
  readonly server: string;
  readonly version: string;
  /** Names of the tests that passed. */
  readonly tests: readonly string[];
}

/** Where the proofs of a run are collected; undefined: nobody asks. */
const directory = process.env['PLUGBOARD_PROOF_DIRECTORY'];
const exercised: { scope: string; server: string; version: string }[] = [];
const passed: string[] = [];
/** Between the names of a test and what it is a part of, in its full name. */
const separator = ' > ';

if (directory !== undefined) {
  afterEach((t) => {
    if ('passed' in t && t.passed) passed.push(t.fullName);
  });
  process.once('exit', () => writeProofs(directory));
}

/** Notes that what passes within a test, or an entire file (scope ''), ran against a server. */
export async function noteServer(scope: string, { name, version }: ServerIdentity): Promise<void> {
  if (directory === undefined) return;
  exercised.push({ scope: scope === '<root>' ? '' : scope, server: name, version: await version() });
}

function writeProofs(into: string): void {
  const file = process.argv[1] ?? '';
  const connector = basename(dirname(file));
  const proofs = exercised.map(
    ({ scope, server, version }): Proof => ({ connector, server, version, tests: testsWithin(scope) }),
  );
  if (proofs.length === 0) return;
  mkdirSync(into, { recursive: true });
  writeFileSync(join(into, `${connector}-${basename(file)}.json`), JSON.stringify(proofs));
}

/** The test that is the scope, where it has no parts; else its parts, without theirs. */
function testsWithin(scope: string): string[] {
  const parts = passed
    .filter((name) => scope === '' || name.startsWith(`${scope}${separator}`))
    .map((name) => (scope === '' ? name : name.slice(scope.length + separator.length)))
    .filter((name) => !name.includes(separator))
    .map(withoutRequirement);
  if (parts.length > 0) return parts;
  return passed.includes(scope) ? [scope] : [];
}

/** A test's name without the requirement it is named for: whom the docs speak to has no list of these. */
function withoutRequirement(name: string): string {
  return name.replace(/^security \d+: /, '');
}

/** The first version in what a program prints when it is asked for it. */
export async function programVersion(program: string, ...args: string[]): Promise<string> {
  // Some print it as a complaint about the option.
  const { stdout, stderr } = await run(program, args).catch(
    (failure: { stdout?: string; stderr?: string }) => failure,
  );
  const version = /\d+\.\d+[\w.]*/.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[0];
  if (version === undefined) throw new Error(`${program} does not say its version`);
  return version;
}
