import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { callerOf } from '../auth/caller.ts';
import { nullableText } from '../server/field-schemas.ts';
import { listOf } from '../server/list-query.ts';
import type { KeyRotation } from './key-rotation.ts';

const tags = ['keys'];
const config = { access: 'admin' as const };

const progressView = Type.Object({
  success: Type.Literal(true),
  rotation: Type.Object({
    state: Type.String({ description: 'idle, running, done or failed' }),
    total: Type.Integer({ description: 'Values under older keys when it began.' }),
    done: Type.Integer(),
    startedAt: nullableText,
    endedAt: nullableText,
    message: nullableText,
  }),
});

/** `GET /apiops/keys/`, `POST` and `GET /apiops/keys/rotate/`: the master keys that seal what is stored. */
export function keyRotationRoutes(app: FastifyInstance, { rotation }: { rotation: KeyRotation }): void {
  app.get(
    '/apiops/keys/',
    {
      config,
      schema: {
        tags,
        summary: 'Which master keys are in use, by id, and how many values each seals',
        response: {
          200: listOf(
            Type.Object({
              keyId: Type.String(),
              newest: Type.Boolean({ description: 'The one that seals.' }),
              given: Type.Boolean({ description: 'Whether this process has it.' }),
              values: Type.Integer(),
            }),
          ),
        },
      },
    },
    async () => {
      const resultList = await rotation.keys();
      return { success: true as const, resultList, resultCount: resultList.length };
    },
  );

  app.post(
    '/apiops/keys/rotate/',
    {
      config,
      schema: {
        tags,
        summary: 'Seal everything with the newest master key, in the background; again: says how far it is',
        response: { 200: progressView },
      },
    },
    async (request) => ({ success: true as const, rotation: await rotation.start(callerOf(request)) }),
  );

  app.get(
    '/apiops/keys/rotate/',
    {
      config,
      schema: { tags, summary: 'How far the rotation of keys is', response: { 200: progressView } },
    },
    async () => ({ success: true as const, rotation: rotation.progress() }),
  );
}
