import { hash } from 'node:crypto';
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  onErrorHookHandler,
  onResponseHookHandler,
  onSendHookHandler,
  preValidationHookHandler,
} from 'fastify';
import { AppError } from '../../errors.ts';
import { loggableError } from '../../loggable-error.ts';
import { type Database, isOutcomeUnknown } from '../store/database.ts';
import type { Place as SealedPlace, Sealer } from '../store/sealing.ts';
import type { Tables } from '../store/tables.ts';

const KEPT_MS = 24 * 60 * 60 * 1000;
const KEPT_BODY_MAX_BYTES = 256 * 1024;
const WRITES = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);
/** Answers that say nothing of what was done, or that may differ when asked again. */
const NOT_FINAL = new Set([401, 403, 408, 425, 429]);
/** Stored while the first request runs; found without that request, its outcome is unknown. */
const RUNNING = 0;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Fields of the answer shown once; a repeated answer has them as null. */
    oneTimeSecrets?: readonly string[];
  }
  interface FastifyRequest {
    idempotent: Reservation | null;
  }
}

interface Place {
  principal: string;
  key: string;
  method: string;
  path: string;
}

interface Reservation {
  place: Place;
  id: string;
  finish(): void;
}

type Row = Tables['idempotency'];

/**
 * Answers a write repeated under its Idempotency-Key as it was answered first: token, project and
 * permission are checked anew, one-time secrets are left out. Another body under the key is
 * unprocessable, a concurrent duplicate waits. Remembered are 2xx, 4xx that will not change, and
 * 504, whose work may have been done; any other 5xx may be tried again. A request whose outcome was
 * lost, with its process or with the database's answer, is never repeated: conflict. Registered on the
 * root after the access hook.
 */
export function registerIdempotency(app: FastifyInstance, db: Database, sealer: Sealer): void {
  const running = new Map<string, Promise<void>>();
  app.decorateRequest('idempotent', null);

  // After parsing, before validation fills in defaults: the hash is of what was sent.
  const reserveFirst: preValidationHookHandler = (request, reply, done) => {
    const header = request.headers['idempotency-key'];
    if (header === undefined || !WRITES.has(request.method) || !request.principal) return done();
    answerOrReserve(request, reply, header).then((answered) => answered || done(), done);
  };

  /** Answers whether it has answered the request. */
  async function answerOrReserve(
    request: FastifyRequest,
    reply: FastifyReply,
    header: string | string[],
  ): Promise<boolean> {
    if (typeof header !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(header)) {
      throw new AppError('bad_request', 'Idempotency-Key must be 1 to 255 visible ASCII characters');
    }
    const place: Place = {
      principal: request.principal.id,
      key: header,
      method: request.method,
      path: request.url,
    };
    const bodyHash = hashBody(request);
    const id = JSON.stringify([place.principal, place.key, place.method, place.path]);

    // Each round either waits for the one that runs, answers, or becomes the one that runs.
    for (;;) {
      const first = running.get(id);
      if (first) {
        await first;
        continue;
      }
      let finish: () => void = () => {};
      running.set(id, new Promise((resolve) => (finish = resolve)));
      const done = () => {
        running.delete(id);
        finish();
      };
      let row: Row | 'reserved';
      try {
        row = await reserve(db, place, sealer.seal(bodyHash, sealedPlace(place)));
      } catch (error) {
        done();
        throw error;
      }
      if (row === 'reserved') {
        request.idempotent = { place, id, finish: done };
        return false;
      }
      done();
      if (sealer.open(row.body_hash, sealedPlace(place)) !== bodyHash) throw new AppError('unprocessable');
      if (Number(row.status) === RUNNING) {
        throw new AppError(
          'conflict',
          'The outcome of the first request with this Idempotency-Key is not known; see what is there before using another key',
        );
      }
      reply.code(Number(row.status)).header('idempotency-replayed', 'true');
      const [etag, text] = readKept(sealer.open(row.body, sealedPlace(place)));
      if (etag !== '') reply.header('etag', etag);
      if (text === '') reply.send('');
      else reply.type('application/json; charset=utf-8').send(text);
      return true;
    }
  }

  const keepAnswer: onSendHookHandler = (request, reply, payload, done) => {
    const reservation = request.idempotent;
    if (!reservation) return done();
    request.idempotent = null;
    keep(reservation, request, reply, payload).then(() => done(), done);
  };

  async function keep(
    reservation: Reservation,
    request: FastifyRequest,
    reply: FastifyReply,
    payload: unknown,
  ): Promise<void> {
    const { place } = reservation;
    const { principal, key, method, path } = place;
    try {
      const status = reply.statusCode;
      if (isFinal(status)) {
        const text = withoutSecrets(payload, request.routeOptions.config.oneTimeSecrets ?? []);
        const body = sealer.seal(`${reply.getHeader('etag') ?? ''}\n${text}`, sealedPlace(place));
        await db.write((tx) =>
          tx.run(
            'update idempotency set status = $1, body = $2 where principal = $3 and key = $4 and method = $5 and path = $6',
            [status, body, principal, key, method, path],
          ),
        );
      } else {
        await db.write((tx) => release(tx, place));
      }
    } catch (error) {
      // The work is done and its answer goes out; only a repetition learns that the outcome is unknown.
      request.log.warn(
        { reqId: request.id, err: loggableError(error) },
        'the answer could not be kept for its Idempotency-Key',
      );
    } finally {
      reservation.finish();
    }
  }

  /** The row stays as it is: the outcome is unknown. */
  const leaveUnknown = (request: FastifyRequest) => {
    request.idempotent?.finish();
    request.idempotent = null;
  };
  const noteFailure: onErrorHookHandler = (request, _reply, error, done) => {
    if (isOutcomeUnknown(error)) leaveUnknown(request);
    done();
  };
  // A hijacked or broken-off answer never came through onSend.
  const forget: onResponseHookHandler = (request, _reply, done) => {
    leaveUnknown(request);
    done();
  };

  // Not on the app: reads would pay for what only writes need.
  app.addHook('onRoute', (route) => {
    if (![route.method].flat().some((method) => WRITES.has(method))) return;
    route.preValidation = [reserveFirst, ...[route.preValidation ?? []].flat()];
    route.onSend = [keepAnswer, ...[route.onSend ?? []].flat()];
    route.onError = [noteFailure, ...[route.onError ?? []].flat()];
    route.onResponse = [forget, ...[route.onResponse ?? []].flat()];
  });
}

/** Forgets answers older than 24 h; answers how many. */
export function purgeIdempotency(db: Database, now: number = Date.now()): Promise<number> {
  return db.write((tx) => tx.run('delete from idempotency where created_at < $1', [now - KEPT_MS]));
}

/** Where a remembered answer is sealed. Results of operations are nobody's to read in the database; the hash of a body would let a secret in it be guessed. */
export function sealedPlace({ principal, key, method, path }: Place): SealedPlace {
  return { project: principal, connection: key, field: `${method} ${path}` };
}

/** What `keep` sealed: the entity tag in its first line, which may be empty, and the answer. */
function readKept(kept: string): [etag: string, text: string] {
  const end = kept.indexOf('\n');
  return [kept.slice(0, end), kept.slice(end + 1)];
}

type Run = Pick<Parameters<Parameters<Database['write']>[0]>[0], 'run'>;

function release(tx: Run, { principal, key, method, path }: Place): Promise<number> {
  return tx.run('delete from idempotency where principal = $1 and key = $2 and method = $3 and path = $4', [
    principal,
    key,
    method,
    path,
  ]);
}

function reserve(db: Database, place: Place, bodyHash: string): Promise<Row | 'reserved'> {
  const { principal, key, method, path } = place;
  const own = [principal, key, method, path];
  return db.write(async (tx) => {
    const now = Date.now();
    await tx.run(
      'delete from idempotency where principal = $1 and key = $2 and method = $3 and path = $4 and created_at < $5',
      [...own, now - KEPT_MS],
    );
    const made = await tx.run(
      "insert into idempotency (principal, key, method, path, body_hash, status, body, created_at) values ($1, $2, $3, $4, $5, 0, '', $6) on conflict do nothing",
      [...own, bodyHash, now],
    );
    if (made > 0) return 'reserved';
    const row = await tx.get<Row>(
      'select * from idempotency where principal = $1 and key = $2 and method = $3 and path = $4',
      own,
    );
    if (!row) throw new AppError('unavailable');
    return row;
  });
}

function isFinal(status: number): boolean {
  return status === 504 || (status >= 200 && status < 500 && !NOT_FINAL.has(status));
}

function hashBody(request: FastifyRequest): string {
  const { body } = request;
  if (body === undefined || body === null) return hash('sha256', '', 'base64url');
  if (Buffer.isBuffer(body) || typeof body === 'string') return hash('sha256', body, 'base64url');
  if (typeof (body as { pipe?: unknown }).pipe === 'function') {
    throw new AppError('bad_request', 'Idempotency-Key cannot be used with a streamed body');
  }
  return hash('sha256', JSON.stringify(body), 'base64url');
}

function withoutSecrets(payload: unknown, secrets: readonly string[]): string {
  if (payload === null || payload === undefined) return '';
  if (typeof payload !== 'string' || Buffer.byteLength(payload) > KEPT_BODY_MAX_BYTES) {
    return JSON.stringify({ success: true, warnings: ['The first answer was too large to be kept'] });
  }
  if (secrets.length === 0) return payload;
  const body = JSON.parse(payload) as Record<string, unknown>;
  for (const field of secrets) if (field in body) body[field] = null;
  return JSON.stringify(body);
}
