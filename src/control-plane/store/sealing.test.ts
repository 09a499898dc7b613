import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { AppError } from '../../errors.ts';
import type { Database } from './database.ts';
import { openDatabase } from './open-database.ts';
import { createSealer, type Place, readSealingKeys, verifyCanary, verifyKeys } from './sealing.ts';
import { isAppError } from './store-suite.ts';

const newKey = () => createSecretKey(randomBytes(32));
const key = newKey();
const sealer = createSealer([key]);
const place: Place = { project: 'p1', connection: 'c1', field: '/password' };
const text = fc.string({ unit: 'binary', maxLength: 200 });
const places = fc.record({ project: text, connection: text, field: text });

describe('a sealed secret', () => {
  it('opens where it was sealed, whatever it is', () => {
    fc.assert(
      fc.property(text, places, (plain, where) => {
        assert.equal(sealer.open(sealer.seal(plain, where), where), plain);
      }),
    );
    const large = randomBytes(1_000_000).toString('base64');
    assert.equal(sealer.open(sealer.seal(large, place), place), large);
  });

  it('opens at no other place, also where the parts joined read the same', () => {
    const sealed = sealer.seal('secret', place);
    const elsewhere: Place[] = [
      { ...place, project: 'p2' },
      { ...place, connection: 'c2' },
      { ...place, field: '/passphrase' },
      { project: 'p1c1', connection: '', field: '/password' },
      { project: 'p1', connection: 'c1/', field: 'password' },
      { project: 'p1","c1', connection: '/password', field: '' },
    ];
    for (const other of elsewhere)
      assert.throws(() => sealer.open(sealed, other), isAppError('internal_error'));
    fc.assert(
      fc.property(places, places, (one, other) => {
        fc.pre(JSON.stringify(one) !== JSON.stringify(other));
        assert.throws(() => sealer.open(sealer.seal('secret', one), other), isAppError('internal_error'));
      }),
    );
  });

  it('opens in no other spelling', () => {
    const sealed = sealer.seal('a secret', place);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ';
    for (let i = 0; i < sealed.length; i++)
      for (const character of alphabet) {
        if (character === sealed[i]) continue;
        const changed = sealed.slice(0, i) + character + sealed.slice(i + 1);
        assert.throws(() => sealer.open(changed, place), AppError);
      }
    const [version, id, iv, payload] = sealed.split('.');
    const cut = Buffer.from(payload!, 'base64url');
    const others = ['', 'v1', `${sealed}.`, `${sealed}=`, ` ${sealed}`, `v2.${id}.${iv}.${payload}`];
    for (let length = 0; length < cut.length; length++)
      others.push(`${version}.${id}.${iv}.${cut.subarray(0, length).toString('base64url')}`);
    for (const other of others) assert.throws(() => sealer.open(other, place), isAppError('internal_error'));
  });

  it('shows neither the secret, nor the key, nor that two secrets are the same', () => {
    const secret = 'canary-secret-of-this-test';
    const one = sealer.seal(secret, place);
    const two = sealer.seal(secret, place);
    assert.notEqual(one, two);
    for (const form of [secret, btoa(secret), Buffer.from(secret).toString('base64url').slice(0, -2)])
      assert.ok(!one.includes(form));
    const raw = key.export();
    assert.ok(!raw.toString('base64url').startsWith(one.split('.')[1]!.slice(0, 4)));
  });

  it('refuses text that UTF-8 would change', () => {
    assert.throws(() => sealer.seal('half a pair \ud83d', place), isAppError('bad_request'));
  });
});

describe('several master keys', () => {
  const older = newKey();
  const newer = newKey();

  it('seal with the first and open with each', () => {
    const old = createSealer([older]).seal('old', place);
    const rotating = createSealer([newer, older]);
    assert.equal(rotating.open(old, place), 'old');
    const fresh = rotating.seal('new', place);
    assert.equal(createSealer([newer]).open(fresh, place), 'new');
    assert.throws(() => createSealer([older]).open(fresh, place), isAppError('unavailable'));
  });

  it('name the one that is missing', () => {
    const sealed = createSealer([older]).seal('old', place);
    const id = sealed.split('.')[1]!;
    assert.throws(
      () => createSealer([newer]).open(sealed, place),
      (error: Error) => error.message.includes(id) && isAppError('unavailable')(error),
    );
    assert.throws(() => createSealer([]), /No master key/);
  });
});

describe('the canary', () => {
  let directory: string;
  let database: Database;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plugboard-canary-'));
    database = await openDatabase({ dataDirectory: directory });
  });
  after(async () => {
    await database.close();
    await rm(directory, { recursive: true });
  });

  it('lets the key in that it was made with, alone or among others, and says what to do of another', async () => {
    const right = newKey();
    await verifyCanary(database, createSealer([right]));
    await verifyCanary(database, createSealer([right]));
    await verifyCanary(database, createSealer([newKey(), right]));
    const wrong = verifyCanary(database, createSealer([newKey()]));
    await assert.rejects(
      wrong,
      /master key is not the one this database was sealed with.*PLUGBOARD_MASTER_KEY/,
    );
    await verifyCanary(database, createSealer([right]));
  });

  it('does not open for a canary that was changed', async () => {
    const right = createSealer([newKey()]);
    await database.write((tx) => tx.run("delete from meta where key = 'canary'"));
    await verifyCanary(database, right);
    const moved = right.seal('The canary of this database', place);
    for (const value of ['', 'nonsense', moved]) {
      await database.write((tx) => tx.run("update meta set value = $1 where key = 'canary'", [value]));
      await assert.rejects(verifyCanary(database, right), /master key is not the one/);
    }
  });

  it('stays with a key that was only added: what it sealed meanwhile needs it', async () => {
    await database.write((tx) => tx.run('delete from meta'));
    const [old, added] = [newKey(), newKey()];
    const none = async () => [];
    await verifyKeys(database, createSealer([old]), none);
    const both = createSealer([added, old]);
    await verifyKeys(database, both, none);
    assert.deepEqual(await readSealingKeys(database), [...both.keyIds].sort());
    await assert.rejects(
      verifyKeys(database, createSealer([old]), none),
      new RegExp(`still sealed with the master key ${both.keyIds[0]}, which`),
    );
    await verifyKeys(database, both, none);
    await assert.rejects(verifyKeys(database, createSealer([newKey()]), none), /master key is not the one/);
  });

  it('asks which keys are in use where that was never noted', async () => {
    await database.write((tx) => tx.run('delete from meta'));
    const sealer = createSealer([newKey(), newKey()]);
    const used = async () => [sealer.keyIds[0], 'another'];
    await assert.rejects(
      verifyKeys(database, sealer, used),
      /still sealed with the master key another, which/,
    );
    assert.equal(await readSealingKeys(database), undefined);
  });
});
