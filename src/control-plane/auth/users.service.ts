import { randomUUID } from 'node:crypto';
import { foldName } from '../../contract/validation.ts';
import { AppError } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import type { Database, Transaction } from '../store/database.ts';
import type { Access, UserRow } from './access.ts';
import { isAdministrator, requireOtherAdministrator } from './administrators.ts';
import type { Caller } from './caller.ts';
import { checkGrants } from './grants.ts';
import { hashPassword } from './passwords.ts';
import type { Grant } from './permissions.ts';

export interface UserInput {
  username: string;
  password: string;
  admin?: boolean;
  disabled?: boolean;
  grants?: Grant[];
}

export interface UserChange {
  /** Null or absent: stays. */
  password?: string | null;
  admin?: boolean;
  disabled?: boolean;
  grants?: Grant[];
}

export interface UserView {
  username: string;
  admin: boolean;
  disabled: boolean;
  grants: Grant[];
  createdAt: string;
}

export interface Users {
  list(): UserView[];
  /** Without regard to case; throws not_found. */
  get(username: string): UserView;
  /** Throws bad_request for a taken name. */
  create(caller: Caller, input: UserInput): Promise<void>;
  /** Disabling suspends the user's tokens at once; it and a new password end the log-ins for good. */
  update(caller: Caller, username: string, change: UserChange, precondition: Precondition): Promise<void>;
  /** Deletes the user and its tokens. */
  remove(caller: Caller, username: string, precondition: Precondition): Promise<void>;
}

/** People and programs that log in by password. */
export function createUsers(db: Database, access: Access): Users {
  const { directory } = access;

  const existing = (username: string): UserRow => {
    const row = directory.userByKey(foldName(username));
    if (!row) throw new AppError('not_found', `User '${username}' not found`);
    return row;
  };

  return {
    list: () => [...directory.users()].map(viewOf),
    get: (username) => viewOf(existing(username)),

    async create(caller, input) {
      checkGrants(input.grants ?? []);
      checkPassword(input.password);
      const row: UserRow = {
        id: randomUUID(),
        username: input.username,
        username_key: foldName(input.username),
        password_hash: await hashPassword(input.password),
        admin: input.admin ? 1 : 0,
        disabled: input.disabled ? 1 : 0,
        grants: JSON.stringify(input.grants ?? []),
        created_at: Date.now(),
      };
      await directory.inTurn(async () => {
        const made = await db.write(async (tx) => {
          const count = await tx.run(
            'insert into users (id, username, username_key, password_hash, admin, disabled, grants, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing',
            [
              row.id,
              row.username,
              row.username_key,
              row.password_hash,
              row.admin,
              row.disabled,
              row.grants,
              row.created_at,
            ],
          );
          if (count > 0) await audit(tx, caller, 'user.create', row);
          return count > 0;
        });
        if (!made) throw new AppError('bad_request', `User '${input.username}' already exists!`);
        directory.putUser(row);
      });
    },

    async update(caller, username, change, precondition) {
      existing(username);
      if (change.grants) checkGrants(change.grants);
      if (typeof change.password === 'string') checkPassword(change.password);
      const passwordHash =
        typeof change.password === 'string' ? await hashPassword(change.password) : undefined;
      await directory.inTurn(async () => {
        const before = existing(username);
        const after: UserRow = {
          ...before,
          ...(passwordHash === undefined ? {} : { password_hash: passwordHash }),
          ...(change.admin === undefined ? {} : { admin: change.admin ? 1 : 0 }),
          ...(change.disabled === undefined ? {} : { disabled: change.disabled ? 1 : 0 }),
          ...(change.grants === undefined ? {} : { grants: JSON.stringify(change.grants) }),
        };
        if (isAdministrator(before) && !isAdministrator(after)) {
          requireOtherAdministrator(directory, { user: before.id });
        }
        precondition(contentTag(viewOf(before)));
        const endsLogIns = passwordHash !== undefined || after.disabled === 1;
        await db.write(async (tx) => {
          await tx.run(
            'update users set password_hash = $1, admin = $2, disabled = $3, grants = $4 where id = $5',
            [after.password_hash, after.admin, after.disabled, after.grants, after.id],
          );
          if (endsLogIns) {
            await tx.run("delete from tokens where user_id = $1 and kind = 'access'", [after.id]);
          }
          await audit(tx, caller, 'user.update', after, { passwordChanged: passwordHash !== undefined });
        });
        directory.putUser(after);
        if (endsLogIns) {
          for (const token of [...directory.tokens()]) {
            if (token.user_id === after.id && token.kind === 'access') directory.removeToken(token.id);
          }
        }
      });
    },

    remove: (caller, username, precondition) =>
      directory.inTurn(async () => {
        const row = existing(username);
        if (isAdministrator(row)) requireOtherAdministrator(directory, { user: row.id });
        precondition(contentTag(viewOf(row)));
        await db.write(async (tx) => {
          await tx.run('delete from tokens where user_id = $1', [row.id]);
          await tx.run('delete from users where id = $1', [row.id]);
          await recordAudit(tx, { ...caller, project: null, action: 'user.delete', target: row.username });
        });
        directory.removeUser(row.id);
      }),
  };
}

function viewOf(row: UserRow): UserView {
  return {
    username: row.username,
    admin: row.admin === 1,
    disabled: row.disabled === 1,
    grants: JSON.parse(row.grants) as Grant[],
    createdAt: new Date(row.created_at).toISOString(),
  };
}

/** A mask copied from an interface is no password. */
function checkPassword(password: string): void {
  if (!/^[*•]+$/.test(password)) return;
  const message = 'must not be made of mask characters alone';
  throw new AppError('bad_request', `password ${message}`, {
    details: { validationErrors: [{ field: 'password', message }] },
  });
}

function audit(
  tx: Transaction,
  caller: Caller,
  action: string,
  row: UserRow,
  more: Record<string, unknown> = {},
): Promise<void> {
  const { admin, disabled, grants } = viewOf(row);
  return recordAudit(tx, {
    ...caller,
    project: null,
    action,
    target: row.username,
    details: { admin, disabled, grants, ...more },
  });
}
