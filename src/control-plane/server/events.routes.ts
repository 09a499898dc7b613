import { EventEmitter } from 'node:events';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { Access } from '../auth/access.ts';
import type { Scope } from '../auth/permissions.ts';

/** Something that happened, and who may hear of it. */
export interface PlugboardEvent {
  /** `connection`, `deployment`, `health`, `worker`, `project`, `keystore`, `certificate`, `variable`, `expiry` */
  event: string;
  /** Free of secrets. */
  data: Record<string, unknown>;
  /** Needs CONNECTIONS:VIEW there; absent: ADMIN. */
  scope?: Scope;
}

export class Events extends EventEmitter<{ event: [PlugboardEvent] }> {
  constructor() {
    super();
    this.setMaxListeners(0);
  }

  publish(event: PlugboardEvent): void {
    if (this.listenerCount('event') > 0) this.emit('event', event);
  }
}

const keepAliveMs = 15_000;
/** A reader that is this far behind is cut off instead of filling the memory. */
const maxBufferedBytes = 1024 * 1024;

/** `GET /apiops/events/`: server-sent events for what the token may see; ends with the token. */
export function eventRoutes(
  app: FastifyInstance,
  { access, events }: { access: Access; events: Events },
): void {
  const open = new Set<() => void>();
  app.addHook('preClose', async () => {
    for (const end of open) end();
  });

  app.get<{ Querystring: { project?: string } }>(
    '/apiops/events/',
    {
      config: { access: 'token' },
      schema: {
        tags: ['events'],
        summary: 'Server-sent events of changes, deployments and health, for what the token may see',
        description:
          '`connection`, `project`, `keystore`, `certificate` and `variable` tell of a change and whose it was, `deployment` of a step that a worker took with a revision, `health` of a connection that came into another state on a worker, `expiry` of what ends soon; for ADMIN, `worker` tells who came and went. None holds a secret. What was said while nobody listened is not said again: read the state after you have connected.',
        querystring: Type.Object({ project: Type.Optional(Type.String({ maxLength: 255 })) }),
      },
    },
    (request, reply) => {
      const { principal } = request;
      const wanted = request.query.project;
      reply.hijack();
      const { raw } = reply;
      raw.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      raw.write(': connected\n\n');
      let id = 0;
      const onEvent = ({ event, data, scope }: PlugboardEvent) => {
        if (wanted !== undefined && scope?.project !== wanted) return;
        if (!access.allows(principal, scope ? 'CONNECTIONS:VIEW' : 'ADMIN', scope ?? {})) return;
        if (raw.writableLength > maxBufferedBytes) return end();
        id += 1;
        raw.write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      };
      const keepAlive = setInterval(() => raw.write(': still here\n\n'), keepAliveMs);
      const end = () => {
        clearInterval(keepAlive);
        events.off('event', onEvent);
        principal.ended.removeEventListener('abort', end);
        open.delete(end);
        raw.end();
      };
      open.add(end);
      raw.once('close', end);
      events.on('event', onEvent);
      principal.ended.addEventListener('abort', end, { once: true });
      if (principal.ended.aborted) end();
    },
  );
}
