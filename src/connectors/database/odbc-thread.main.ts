import { parentPort, workerData } from 'node:worker_threads';
import type { OdbcConnection, OdbcCursor, OdbcModule, OdbcResult } from './odbc-module.ts';
import type { ThreadAnswer, ThreadRequest } from './odbc-thread.ts';

const cursors = new Map<number, OdbcCursor>();
let connection: OdbcConnection | undefined;

async function load(): Promise<OdbcModule> {
  try {
    const loaded = (await import(workerData as string)) as { default?: OdbcModule } & OdbcModule;
    return loaded.default ?? loaded;
  } catch (error) {
    throw Object.assign(error as Error, { isMissing: true });
  }
}

function plain(result: OdbcResult): Omit<ThreadAnswer, 'id'> {
  const columns = result.columns?.map(({ name, dataTypeName }) => ({ name, dataTypeName }));
  return { rows: [...result], count: result.count, ...(columns ? { columns } : {}) };
}

async function answer(request: ThreadRequest): Promise<Omit<ThreadAnswer, 'id'>> {
  switch (request.kind) {
    case 'connect':
      connection = await (await load()).connect(request.options);
      return {};
    case 'query': {
      const { sql, parameters, fetchSize } = request;
      const given = parameters as (string | number | null)[];
      if (fetchSize === undefined) return plain(await connection!.query(sql, given));
      const opened = await connection!.query(sql, given, { cursor: true, fetchSize });
      if (!('fetch' in opened)) return plain(opened);
      cursors.set(request.id, opened);
      return { cursor: request.id };
    }
    case 'fetch': {
      const cursor = cursors.get(request.cursor)!;
      const rows = await cursor.fetch();
      return { ...plain(rows), noData: cursor.noData };
    }
    case 'closeCursor':
      await cursors.get(request.cursor)?.close();
      cursors.delete(request.cursor);
      return {};
    case 'close':
      await connection?.close();
      return {};
  }
}

parentPort!.on('message', async (request: ThreadRequest) => {
  const { id } = request;
  try {
    parentPort!.postMessage({ id, ...(await answer(request)) });
  } catch (error) {
    const { message, odbcErrors, isMissing } = error as Error & { odbcErrors?: unknown; isMissing?: boolean };
    const told = { message, ...(odbcErrors ? { odbcErrors } : {}), ...(isMissing ? { isMissing } : {}) };
    parentPort!.postMessage({ id, error: told } satisfies ThreadAnswer);
  }
});
