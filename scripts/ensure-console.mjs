// Runs before `npm start` and `npm test`, after the install: builds the console when it was never
// built or when something that it is made of changed since.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'console', 'dist', '.built-from');
const sources = ['package-lock.json', 'console', 'client', 'src/contract'];

function* filesOf(path) {
  const full = join(root, path);
  if (!existsSync(full)) return;
  if (path.endsWith('.json') || /\.[a-z]+$/.test(path)) return yield path;
  for (const entry of readdirSync(full, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name === 'dist' || entry.name === 'node_modules') continue;
    if (entry.isDirectory()) yield* filesOf(join(path, entry.name));
    else yield join(path, entry.name);
  }
}

const hash = createHash('sha256');
for (const source of sources)
  for (const file of filesOf(source))
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)));
const wanted = hash.digest('hex');

if (!existsSync(stampFile) || readFileSync(stampFile, 'utf8') !== wanted) {
  console.error('plugboard: building the console (first start, or it changed) …');
  const vite = spawnSync(
    join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node'),
    [join(root, 'node_modules', 'vite', 'bin', 'vite.js'), 'build', 'console', '--logLevel', 'warn'],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' },
  );
  if (vite.status !== 0) {
    console.error('plugboard: the console could not be built; see the messages above');
    process.exit(1);
  }
  writeFileSync(stampFile, wanted);
}
