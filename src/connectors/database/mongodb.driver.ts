import { BSON, type BulkWriteOptions, type Collection, type Document, type FindCursor } from 'mongodb';
import { AppError } from '../../errors.ts';
import type { CallContext, ConnectorContext, Stages } from '../connector.ts';
import { SharedClient } from '../messaging/shared-client.ts';
import { within } from '../transport/deadline.ts';
import type { DatabaseClient, DatabaseDriver } from './database-client.ts';
import { type DialectSettings, dialInTurn, secure } from './dialect.ts';
import { MongoSession } from './mongodb-session.ts';
import { type MongoSettings, mongoSettings, warnOfIdleFields } from './mongodb-settings.ts';
import { fromJson, toJson } from './mongodb-values.ts';
import type { PoolFigures } from './pool.ts';

const DEFAULT_MAX_ROWS = 1000;
/** Of one answer, as BSON; what is beyond is cut off and said to be. */
const MOST_ANSWER_BYTES = 32 * 1024 * 1024;
/** The server is told to end by itself; this is how much later we do. */
const GRACE_MS = 500;

/** MongoDB by its own driver, whose every connection goes through the worker's network. */
export const mongodbDriver: DatabaseDriver = {
  open(config, target, ctx) {
    const settings = mongoSettings(config, target, ctx);
    warnOfIdleFields(config, ctx);
    return new MongoDatabase(settings, ctx.signal);
  },
  test: (config, target, stages, ctx) => testMongo(mongoSettings(config, target, ctx), stages, ctx),
};

class MongoDatabase implements DatabaseClient {
  readonly #settings: MongoSettings;
  readonly #shared: SharedClient<MongoSession>;
  readonly #signal: AbortSignal;
  readonly #running = new Set<Promise<unknown>>();
  readonly #onAbort = () => this.#shared.destroy();

  readonly operations: DatabaseClient['operations'] = {
    find: (
      { collection, filter = {}, projection, sort, skip, maxRows = DEFAULT_MAX_ROWS, timeoutMs },
      call,
    ) =>
      this.#run(collection, call, timeoutMs, async (documents, options) => {
        const cursor = documents.find(fromJson(filter), {
          ...options,
          limit: maxRows + 1,
          ...(projection === undefined ? {} : { projection: fromJson(projection) }),
          ...(sort === undefined ? {} : { sort: fromJson(sort) as Record<string, 1 | -1> }),
          ...(skip === undefined ? {} : { skip }),
        });
        return readDocuments(cursor, maxRows);
      }),
    aggregate: ({ collection, pipeline, maxRows = DEFAULT_MAX_ROWS, timeoutMs }, call) =>
      this.#run(collection, call, timeoutMs, (documents, options) =>
        readDocuments(documents.aggregate(fromJson(pipeline), options), maxRows),
      ),
    insert: ({ collection, documents: given, timeoutMs }, call) =>
      this.#run(collection, call, timeoutMs, async (documents, { maxTimeMS: _server, ...options }) => {
        const { insertedCount, insertedIds } = await documents.insertMany(
          fromJson(given),
          options as BulkWriteOptions,
        );
        return { insertedCount, insertedIds: Object.values(insertedIds).map(toJson) };
      }),
    update: ({ collection, filter, update, many, upsert, timeoutMs }, call) =>
      this.#run(collection, call, timeoutMs, async (documents, options) => {
        const settings = { ...options, upsert: upsert ?? false };
        const change = fromJson(update) as Document;
        const { matchedCount, modifiedCount, upsertedId } = many
          ? await documents.updateMany(fromJson(filter), change, settings)
          : await documents.updateOne(fromJson(filter), change, settings);
        return {
          matchedCount,
          modifiedCount,
          ...(upsertedId === null ? {} : { upsertedId: toJson(upsertedId) }),
        };
      }),
    delete: ({ collection, filter, many, timeoutMs }, call) =>
      this.#run(collection, call, timeoutMs, async (documents, options) => {
        const { deletedCount } = many
          ? await documents.deleteMany(fromJson(filter), options)
          : await documents.deleteOne(fromJson(filter), options);
        return { deletedCount };
      }),
  };

  /** `signal` closes the client by force when it aborts. */
  constructor(settings: MongoSettings, signal: AbortSignal) {
    this.#settings = settings;
    this.#shared = new SharedClient((opening) => MongoSession.open(settings, opening));
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  figures(): PoolFigures {
    return this.#shared.current?.figures() ?? { size: 0, idle: 0, busy: 0, waiting: 0 };
  }

  async prove(call: CallContext): Promise<void> {
    await this.#attempt(call, undefined, (session, signal) => ping(session, this.#settings, signal));
  }

  async close(): Promise<void> {
    if (!this.#signal.aborted) await Promise.allSettled(this.#running);
    if (this.#signal.aborted) this.#shared.destroy();
    else await this.#shared.close();
    this.#signal.removeEventListener('abort', this.#onAbort);
  }

  #run<T>(
    collection: string,
    call: CallContext,
    timeoutMs: number | undefined,
    work: (documents: Collection, options: OperationOptions) => Promise<T>,
  ): Promise<T> {
    if (collection.includes('\0') || collection.startsWith('system.'))
      return Promise.reject(new AppError('request_rejected', 'that is no name of a collection of yours'));
    return this.#attempt(call, timeoutMs, (session, signal) =>
      work(session.client.db(this.#settings.database).collection(collection), {
        signal,
        ...(timeoutMs === undefined ? {} : { maxTimeMS: timeoutMs }),
      }),
    );
  }

  /** `timeoutMs` counts from when the servers are known; an abort also ends the connection it runs on. */
  async #attempt<T>(
    { signal }: CallContext,
    timeoutMs: number | undefined,
    work: (session: MongoSession, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const session = await this.#shared.get(signal);
    const ended = new AbortController();
    const running = work(session, ended.signal);
    this.#running.add(running);
    try {
      return await within(running, {
        timeoutMs: timeoutMs === undefined ? Number.POSITIVE_INFINITY : timeoutMs + GRACE_MS,
        signal,
        late: () => new AppError('target_timeout', `it took longer than ${timeoutMs} ms`),
      });
    } catch (error) {
      throw session.classify(error);
    } finally {
      ended.abort(new AppError('cancelled'));
      this.#running.delete(running);
    }
  }
}

interface OperationOptions {
  signal: AbortSignal;
  maxTimeMS?: number;
}

async function readDocuments(
  cursor: Pick<FindCursor<Document>, 'next' | 'close'>,
  maxRows: number,
): Promise<{ documents: Record<string, unknown>[]; truncated: boolean }> {
  const documents: Record<string, unknown>[] = [];
  let bytes = 0;
  try {
    for (;;) {
      const document = await cursor.next();
      if (document === null) return { documents, truncated: false };
      bytes += BSON.calculateObjectSize(document);
      if (documents.length === maxRows || (documents.length > 0 && bytes > MOST_ANSWER_BYTES))
        return { documents, truncated: true };
      documents.push(toJson(document) as Record<string, unknown>);
    }
  } finally {
    // Best effort: the server forgets an abandoned cursor by itself.
    await cursor.close().catch(() => {});
  }
}

async function ping(session: MongoSession, settings: MongoSettings, signal: AbortSignal): Promise<void> {
  const { timeoutMs } = settings;
  const late = () => new AppError('target_timeout', `ping was not answered within ${timeoutMs} ms`);
  const answered = session.client.db(settings.database).command({ ping: 1 }, { signal });
  await within(answered, { timeoutMs, signal, late });
}

/** The staged test on a client of its own; what the servers' names lead to is dialled once more beforehand. */
async function testMongo(
  settings: MongoSettings,
  stages: Stages,
  { signal }: ConnectorContext,
): Promise<void> {
  if (settings.srv) {
    stages.skip('resolve', 'the SRV record is resolved by the driver when it connects');
    stages.skip('connect', 'the servers of the SRV record are dialled when the driver logs in');
    stages.skip('tls', 'the servers of the SRV record are verified when the driver logs in');
  } else await testTransport(settings, stages, signal);
  const session = await stages.run('authenticate', async (note) => {
    const opened = await MongoSession.open(settings, signal);
    const { auth, authMechanism, authSource } = settings.options;
    note.detail(
      auth?.username
        ? `user ${auth.username} of database ${authSource}${authMechanism ? `, ${authMechanism}` : ', SCRAM'}`
        : `without a log-in${authMechanism ? `, ${authMechanism}` : ''}`,
    );
    return opened;
  });
  try {
    await stages.run('operate', async (note) => {
      try {
        await ping(session, settings, signal);
        const { version } = await session.client.db(settings.database).command({ buildInfo: 1 }, { signal });
        note.detail(`ping answered by MongoDB ${version}`);
      } catch (error) {
        throw session.classify(error);
      }
    });
  } finally {
    await session.close();
  }
}

async function testTransport(settings: MongoSettings, stages: Stages, signal: AbortSignal): Promise<void> {
  const { hosts, tls, timeoutMs, network } = settings;
  const dialling = { hosts, tls, timeoutMs, network } as DialectSettings;
  const { socket, host } = await dialInTurn(dialling, { hosts, stages, signal, lost() {} });
  socket.on('error', () => {});
  try {
    if (tls.demand === 'none')
      stages.skip(
        'tls',
        'TLS is not asked for: nothing is encrypted; tls=true in jdbcUrl encrypts and verifies',
      );
    else
      await stages.run('tls', async (note) => {
        (await secure(dialling, socket, host, signal, note)).destroy();
      });
  } finally {
    socket.destroy();
  }
}
