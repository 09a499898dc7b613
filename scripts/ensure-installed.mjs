// Runs before `npm start` and `npm test`, on whatever Node the machine has (20 or newer): installs
// the dependencies when they are missing or older than the lockfile.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'node_modules', '.installed-lockfile');
const pinnedNode = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node');
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex');

if (!existsSync(stampFile) || readFileSync(stampFile, 'utf8') !== wanted) {
  console.error('plugboard: installing dependencies (first start, or the lockfile changed) …');
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (npm.status !== 0) {
    console.error('plugboard: npm ci failed; see the messages above');
    process.exit(1);
  }
  writeFileSync(stampFile, wanted);
}

const version = spawnSync(pinnedNode, ['--version'], {
  encoding: 'utf8',
  shell: process.platform === 'win32',
});
const major = Number(/^v(\d+)\./.exec(version.stdout ?? '')?.[1]);
if (!(major >= 24)) {
  console.error(
    'plugboard: the pinned Node 24 is not there. It is the npm package `node`, set up by an install script:\n' +
      'remove node_modules and run again without --ignore-scripts.',
  );
  process.exit(1);
}
