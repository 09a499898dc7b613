import { createSecretKey, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance, type InjectOptions } from 'fastify';
import { auditRoutes } from '../audit/audit.routes.ts';
import { createAudit } from '../audit/audit.service.ts';
import { environmentRoutes } from '../environments/environments.routes.ts';
import { createEnvironments } from '../environments/environments.service.ts';
import { projectRoutes } from '../projects/projects.routes.ts';
import { createProjects, type ProjectConnections } from '../projects/projects.service.ts';
import { registerAccess } from '../server/access-hook.ts';
import { registerErrorHandler } from '../server/error-handler.ts';
import { registerIdempotency } from '../server/idempotency.ts';
import type { Database } from '../store/database.ts';
import { openDatabase } from '../store/open-database.ts';
import { createSealer } from '../store/sealing.ts';
import { createAccess } from './access.ts';
import { bootstrapAdminToken } from './admin-token.ts';
import { logInRoutes } from './log-in.routes.ts';
import { createLogIn } from './log-in.service.ts';
import { meRoutes } from './me.routes.ts';
import type { Grant } from './permissions.ts';
import { tokenRoutes } from './tokens.routes.ts';
import { createTokens } from './tokens.service.ts';
import { userRoutes } from './users.routes.ts';
import { createUsers } from './users.service.ts';

export const ADMIN_TOKEN = 'the-first-admin-token-of-tests';

export interface Answer {
  status: number;
  headers: Record<string, unknown>;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read answers of every shape
  body: any;
}

/** Marks connections deleted as the connections feature does; that feature has tests of its own. */
const connections: ProjectConnections = {
  async removeAll(tx, project) {
    const rows = await tx.all<{ id: string }>(
      'select id from connections where project_id = $1 and deleted_at is null',
      [project.id],
    );
    for (const { id } of rows) {
      const seq = await tx.nextSequence();
      await tx.run('update connections set deleted_at = 1, seq = $1 where id = $2', [seq, id]);
    }
    return rows.length > 0;
  },
  async replaceAll(tx, project) {
    const seq = await tx.nextSequence();
    await tx.run('update connections set seq = $1 where project_id = $2', [seq, project.id]);
  },
};

/** The features of this folder and its neighbours on an embedded database of their own, or on that of a URL. */
export async function startTestApp(
  options: { addRoutes?: (app: FastifyInstance) => void; databaseUrl?: string } = {},
) {
  const directory = await mkdtemp(join(tmpdir(), 'plugboard-auth-'));
  const opened = await openDatabase(
    options.databaseUrl === undefined
      ? { dataDirectory: join(directory, 'data') }
      : { url: options.databaseUrl },
  );
  let statements = 0;
  const db = counted(opened, () => statements++);

  const access = await createAccess(db);
  await bootstrapAdminToken(db, access, { given: ADMIN_TOKEN, secretsDirectory: join(directory, 'secrets') });
  const environments = await createEnvironments(db);
  await environments.ensure('production');
  const projects = await createProjects(db, { access, connections });

  const app = Fastify({
    routerOptions: { ignoreTrailingSlash: true },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: true } },
  });
  registerErrorHandler(app);
  registerAccess(app, { access, projects });
  registerIdempotency(app, db, createSealer([createSecretKey(randomBytes(32))]));
  tokenRoutes(app, { tokens: createTokens(db, access) });
  userRoutes(app, { users: createUsers(db, access) });
  logInRoutes(app, { logIn: createLogIn(db, access), addressOf: ({ ip }) => ip });
  meRoutes(app, { access, projects });
  auditRoutes(app, { audit: createAudit(db, { access, projects }) });
  projectRoutes(app, { projects, access });
  environmentRoutes(app, { environments });
  options.addRoutes?.(app);
  await app.ready();

  const call = async (
    method: NonNullable<InjectOptions['method']>,
    url: string,
    options: { token?: string; body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<Answer> => {
    const { token = ADMIN_TOKEN, body, headers = {} } = options;
    const response = await app.inject({
      method,
      url,
      headers: { ...(token === '' ? {} : { authorization: `Bearer ${token}` }), ...headers },
      ...(body === undefined ? {} : { payload: body as object }),
    });
    const isJson = String(response.headers['content-type']).startsWith('application/json');
    return {
      status: response.statusCode,
      headers: response.headers,
      text: response.body,
      body: isJson ? response.json() : undefined,
    };
  };

  return {
    app,
    db,
    directory,
    access,
    environments,
    projects,
    call,
    /** How many statements and transactions the database has been asked for. */
    statements: () => statements,
    async token(grants: Grant[], more: Record<string, unknown> = {}): Promise<{ id: string; token: string }> {
      const made = await call('POST', '/apiops/tokens/', { body: { name: 'made', grants, ...more } });
      if (made.status !== 200) throw new Error(made.text);
      return made.body;
    },
    logIn: (username: string, password: string) =>
      call('POST', '/apiops/auth/token', {
        token: '',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({
          grant_type: 'client_credentials',
          client_id: username,
          client_secret: password,
        }).toString(),
      }),
    async [Symbol.asyncDispose]() {
      await app.close();
      access.close();
      await db.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export type TestApp = Awaited<ReturnType<typeof startTestApp>>;

function counted(db: Database, count: () => void): Database {
  return {
    dialect: db.dialect,
    builder: db.builder,
    all: (sql, values) => {
      count();
      return db.all(sql, values);
    },
    get: (sql, values) => {
      count();
      return db.get(sql, values);
    },
    write: (job, options) => {
      count();
      return db.write(job, options);
    },
    connectionsVersion: () => db.connectionsVersion(),
    onOutcomeUnknown: (listener) => db.onOutcomeUnknown(listener),
    durable: () => db.durable(),
    demandWritable: () => db.demandWritable(),
    close: () => db.close(),
  };
}
