import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { arbitraryBody, arbitraryBreaks, broke } from '../../src/connectors/arbitrary-body.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { completeConfig, parseConnection } from '../../src/contract/validation.ts';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';

const list = '/apiops/projects/MyProject/connections/';

describe('any body', () => {
  let plugboard: Plugboard;
  before(async () => {
    plugboard = await startPlugboard({ withWorker: false });
  });
  after(() => plugboard.stop());

  const send = async (method: 'POST' | 'GET' | 'PUT' | 'DELETE', name: string, payload?: unknown) => {
    const answer = await plugboard.controlPlane.app.inject({
      method,
      url: `${list}${encodeURIComponent(name)}/?async=true`,
      headers: { authorization: `Bearer ${plugboard.token}`, 'content-type': 'application/json' },
      ...(payload === undefined ? {} : { payload: JSON.stringify(payload) }),
    });
    return { status: answer.statusCode, body: JSON.parse(answer.body) };
  };

  let names = 0;
  for (const definition of Object.values(definitions) as unknown as ConnectionType[]) {
    test(`${definition.type}: a valid one survives create, get and update`, async () => {
      await fc.assert(
        fc.asyncProperty(arbitraryBody(definition), async (made) => {
          names += 1;
          // Environments are the project's to know, and are tested with it.
          const body = { ...made, name: `b${names}`, environments: [], selectedEnvironmentId: undefined };
          const parsed = parseConnection(definition, body);
          assert.ok(parsed.ok);
          const wanted = JSON.parse(JSON.stringify(completeConfig(definition, parsed.config)));
          const created = await send('POST', body.name, body);
          assert.equal(created.status, 200, JSON.stringify(created.body));
          const got = (await send('GET', body.name)).body.resultList[0];
          assert.deepEqual(got, wanted);
          const updated = await send('PUT', body.name, got);
          assert.equal(updated.status, 200, JSON.stringify(updated.body));
          assert.deepEqual((await send('GET', body.name)).body.resultList[0], wanted);
          assert.equal((await send('DELETE', body.name)).status, 200);
        }),
        { numRuns: 15, seed: 20262, endOnFailure: true },
      );
    });

    test(`${definition.type}: a broken one is refused by the field, stores nothing, and is no fault of ours`, async () => {
      await fc.assert(
        fc.asyncProperty(arbitraryBody(definition), arbitraryBreaks, async (made, breaks) => {
          const body: Record<string, unknown> = { ...breaks.reduce(broke, made), name: 'broken' };
          const { status, body: answer } = await send('POST', 'broken', body);
          if (status === 200) {
            await send('DELETE', 'broken');
            return;
          }
          assert.equal(status, 400, JSON.stringify(answer));
          if (answer.validation_errors === undefined) {
            assert.match(answer.error_description, /__proto__|nested deeper/);
            return;
          }
          assert.ok(answer.validation_errors.length > 0);
          for (const { field, message } of answer.validation_errors) {
            assert.equal(typeof field, 'string');
            assert.ok(message.length > 0);
          }
          assert.equal((await send('GET', 'broken')).status, 404);
        }),
        { numRuns: 30, seed: 20263, endOnFailure: true },
      );
    });
  }
});
