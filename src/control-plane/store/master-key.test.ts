import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { loadMasterKeys, type MasterKey } from './master-key.ts';

const root = await mkdtemp(join(tmpdir(), 'plugboard-keys-'));
after(() => rm(root, { recursive: true, force: true }));
let directories = 0;
const newPath = () => join(root, `secrets-${++directories}`);
const exported = (keys: MasterKey[]) => keys.map((key) => key.export().toString('base64'));
const newKey = () => randomBytes(32).toString('base64');

describe('master keys from the environment', () => {
  it('are read in their order, separated by commas or white space', async () => {
    const keys = [newKey(), newKey(), newKey()];
    const secretsDirectory = newPath();
    const value = ` ${keys[0]},${keys[1]} ,\n${keys[2]}\n`;
    assert.deepEqual(exported(await loadMasterKeys({ value, secretsDirectory })), keys);
    await assert.rejects(stat(secretsDirectory), { code: 'ENOENT' });
  });

  it('are read with either alphabet, with and without padding', async () => {
    const key = Buffer.alloc(32, 0xfb);
    for (const value of [key.toString('base64'), key.toString('base64url'), `${key.toString('base64url')}=`])
      assert.deepEqual(exported(await loadMasterKeys({ value, secretsDirectory: newPath() })), [
        key.toString('base64'),
      ]);
  });

  it('that cannot be used stop the start with what to do, and are not repeated', async () => {
    const short = randomBytes(31).toString('base64');
    const long = randomBytes(33).toString('base64');
    const hex = randomBytes(32).toString('hex');
    const mistyped = `${newKey().slice(0, -4)}!!!=`;
    for (const bad of [short, long, hex, mistyped, 'password', '\u{1f511}']) {
      await assert.rejects(
        loadMasterKeys({ value: `${newKey()} ${bad}`, secretsDirectory: newPath() }),
        (error: Error) => {
          assert.match(
            error.message,
            /Master key 2 of 2 in PLUGBOARD_MASTER_KEY is not usable.*openssl rand/,
          );
          assert.ok(!error.message.includes(bad));
          return true;
        },
      );
    }
    for (const value of ['', ' ,\n'])
      await assert.rejects(loadMasterKeys({ value, secretsDirectory: newPath() }), /PLUGBOARD_MASTER_KEY/);
  });
});

describe('master keys from a file', () => {
  it('are read when only the owner can read it', async () => {
    const file = newPath();
    const key = newKey();
    await writeFile(file, `${key}\n`, { mode: 0o600 });
    assert.deepEqual(exported(await loadMasterKeys({ file, secretsDirectory: newPath() })), [key]);
    for (const mode of [0o640, 0o604, 0o620]) {
      await chmod(file, mode);
      await assert.rejects(
        loadMasterKeys({ file, secretsDirectory: newPath() }),
        new RegExp(`chmod 600 ${file}`),
      );
    }
  });

  it('that is missing or holds no key stop the start by the name of the file', async () => {
    const file = newPath();
    const load = () => loadMasterKeys({ file, secretsDirectory: newPath() });
    await assert.rejects(load(), /PLUGBOARD_MASTER_KEY_FILE names .* which does not exist/);
    await writeFile(file, 'not a key', { mode: 0o600 });
    await assert.rejects(load(), (error: Error) => {
      assert.ok(error.message.includes(file) && !error.message.includes('not a key'));
      return true;
    });
    await rm(file);
    await mkdir(file, { mode: 0o700 });
    await assert.rejects(load(), (error: Error) => error.message.includes(file));
  });
});

describe('the master key of the secrets directory', () => {
  it('is made at the first start and kept, for its owner alone', async () => {
    const secretsDirectory = newPath();
    const first = exported(await loadMasterKeys({ secretsDirectory }));
    assert.equal(Buffer.from(first[0]!, 'base64').length, 32);
    assert.deepEqual(exported(await loadMasterKeys({ secretsDirectory })), first);
    assert.equal((await stat(secretsDirectory)).mode & 0o777, 0o700);
    assert.equal((await stat(join(secretsDirectory, 'master.key'))).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(secretsDirectory), ['master.key']);
  });

  it('is the same for all that start at once', async () => {
    const secretsDirectory = newPath();
    const all = await Promise.all(Array.from({ length: 10 }, () => loadMasterKeys({ secretsDirectory })));
    assert.equal(new Set(all.flatMap(exported)).size, 1);
    assert.deepEqual(await readdir(secretsDirectory), ['master.key']);
  });

  it('is refused where others can read it', async () => {
    const secretsDirectory = newPath();
    await loadMasterKeys({ secretsDirectory });
    const path = join(secretsDirectory, 'master.key');
    await chmod(path, 0o644);
    await assert.rejects(loadMasterKeys({ secretsDirectory }), new RegExp(`chmod 600 ${path}`));
    await chmod(path, 0o600);
    await chmod(secretsDirectory, 0o755);
    await assert.rejects(loadMasterKeys({ secretsDirectory }), new RegExp(`chmod 700 ${secretsDirectory}`));
  });

  it('is not replaced when its file is damaged', async () => {
    const secretsDirectory = newPath();
    await mkdir(secretsDirectory, { mode: 0o700 });
    await writeFile(join(secretsDirectory, 'master.key'), '', { mode: 0o600 });
    await assert.rejects(loadMasterKeys({ secretsDirectory }), /There is no master key in the file/);
  });
});
