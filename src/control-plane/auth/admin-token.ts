import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { recordAudit } from '../audit/audit.service.ts';
import type { Database } from '../store/database.ts';
import type { Access, TokenRow } from './access.ts';
import { isAdministrator } from './administrators.ts';
import type { Grant } from './permissions.ts';
import { hashToken, makeToken } from './token-format.ts';
import { insertToken } from './tokens.service.ts';

const GIVEN_MIN_LENGTH = 20;
const FILE_NAME = 'admin-token';
const MADE_ID = 'admin-made';
const GIVEN_ID = 'admin-given';
const EVERYTHING: Grant[] = [{ project: '*', permissions: ['ADMIN'] }];

/**
 * Sees to it that somebody can administer. A given token (20 or more visible ASCII characters) is
 * taken as it is and replaces the one given before; without any, the first start makes one and
 * answers the path of the 0600 file that holds it. Only hashes are stored.
 */
export async function bootstrapAdminToken(
  db: Database,
  access: Access,
  options: { given?: string | undefined; secretsDirectory: string },
): Promise<{ path: string | null }> {
  const { given, secretsDirectory } = options;
  if (given !== undefined) {
    if (given.length < GIVEN_MIN_LENGTH || !/^[\x21-\x7e]{1,512}$/.test(given)) {
      throw new Error(
        `PLUGBOARD_ADMIN_TOKEN must have ${GIVEN_MIN_LENGTH} to 512 visible ASCII characters without spaces`,
      );
    }
    const current = access.directory.token(GIVEN_ID);
    if (current?.hash !== hashToken(given)) await store(db, access, adminRow(GIVEN_ID, given));
    return { path: null };
  }
  for (const token of access.directory.tokens()) if (token.kind === 'admin') return { path: null };
  for (const user of access.directory.users()) if (isAdministrator(user)) return { path: null };
  const token = makeToken('pbt');
  const path = await writeSecretFile(secretsDirectory, `${token}\n`);
  await store(db, access, adminRow(MADE_ID, token));
  return { path };
}

function adminRow(id: string, token: string): TokenRow {
  return {
    id,
    name: 'admin',
    user_id: null,
    hash: hashToken(token),
    kind: 'admin',
    grants: JSON.stringify(EVERYTHING),
    made_by: null,
    created_at: Date.now(),
    expires_at: null,
  };
}

async function store(db: Database, access: Access, row: TokenRow): Promise<void> {
  await db.write(async (tx) => {
    await tx.run('delete from tokens where id = $1', [row.id]);
    await insertToken(tx, row);
    await recordAudit(tx, { actor: 'system', project: null, action: 'token.create', target: row.id });
  });
  access.directory.putToken(row);
}

/** Written and synced before the hash is stored: a crash in between leaves a file that the next start replaces. */
async function writeSecretFile(directory: string, content: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, FILE_NAME);
  const file = await open(path, 'w', 0o600);
  try {
    // The mode of `open` does not reach a file that is there already.
    await file.chmod(0o600);
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  return path;
}
