import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { AppError } from '../../errors.ts';
import type { ConnectedWorkers } from '../deployments/connected-workers.ts';
import type { Environments } from '../environments/environments.service.ts';
import type { Database } from '../store/database.ts';
import { listed, listQuery } from './list-query.ts';

interface WorkerRow {
  id: string;
  name: string;
  version: string;
  first_seen: number;
  last_seen: number;
  cursor: number;
}

/** The workers of an environment: who is connected, with which version, how far behind. */
export function workerRoutes(
  app: FastifyInstance,
  { db, environments, workers }: { db: Database; environments: Environments; workers: ConnectedWorkers },
): void {
  app.get<{ Params: { environment: string }; Querystring: Static<typeof listQuery> }>(
    '/apiops/environments/:environment/workers/',
    {
      config: { access: 'admin' },
      schema: {
        tags: ['environments'],
        summary: 'Workers of an environment',
        params: Type.Object({ environment: Type.String() }),
        querystring: listQuery,
      },
    },
    async (request) => {
      const { environment: name } = request.params;
      const environment = environments.find(name);
      if (!environment) throw new AppError('not_found', `Environment '${name}' not found`);
      const rows = await db.all<WorkerRow>(
        'select id, name, version, first_seen, last_seen, cursor from workers where environment_id = $1 order by name',
        [environment.id],
      );
      const connected = new Map(workers.of(name).map((worker) => [worker.id, worker]));
      const behind = await Promise.all(rows.map((row) => changesAfter(db, environment.id, row.cursor)));
      const items = rows.map((row, index) => ({
        id: row.id,
        name: row.name,
        version: row.version,
        connected: connected.has(row.id),
        connectedSince: isoOrNull(connected.get(row.id)?.connectedAt),
        firstSeen: new Date(row.first_seen).toISOString(),
        lastSeen: new Date(connected.has(row.id) ? Date.now() : row.last_seen).toISOString(),
        sequence: row.cursor,
        behind: behind[index],
      }));
      return listed(items, request.query, {
        searched: ['name', 'version'],
        sortable: ['name', 'version', 'connected', 'firstSeen', 'lastSeen', 'sequence', 'behind'],
      });
    },
  );
}

/** How many connections of the environment changed after what a worker has received. */
async function changesAfter(db: Database, environmentId: string, cursor: number): Promise<number> {
  const row = await db.get<{ count: number }>(
    `select count(*) as count from connections c cross join deployments d
      where c.seq > $2 and d.connection_id = c.id and d.environment_id = $1`,
    [environmentId, cursor],
  );
  return Number(row?.count ?? 0);
}

function isoOrNull(time: number | undefined): string | null {
  return time === undefined ? null : new Date(time).toISOString();
}
