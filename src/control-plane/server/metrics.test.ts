import assert from 'node:assert/strict';
import { test } from 'node:test';
import Fastify from 'fastify';
import { ADMIN_TOKEN, startTestApp } from '../auth/test-app.ts';
import { ConnectedWorkers } from '../deployments/connected-workers.ts';
import { registerErrorHandler } from './error-handler.ts';
import { metricsRoutes } from './metrics.ts';

test('metrics are for who has METRICS:VIEW or administers the installation, or for whoever is on this machine alone', async () => {
  await using app = await startTestApp();
  const { token: ofProject } = await app.token([{ project: 'A', permissions: ['ADMIN'] }]);
  const { token: scraping } = await app.token([{ project: '*', permissions: ['METRICS:VIEW'] }]);
  let isLocal = false;
  const server = Fastify();
  registerErrorHandler(server);
  const { db, access } = app;
  const workers = new ConnectedWorkers();
  metricsRoutes(server, { db, access, workers, isLocal: () => isLocal, version: 'test' });
  const get = async (token?: string) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const { statusCode, body } = await server.inject({ url: '/metrics', headers });
    if (statusCode !== 200) assert.doesNotMatch(body, /plugboard_/);
    return statusCode;
  };
  assert.deepEqual([await get(), await get('nonsense'), await get(ofProject)], [401, 401, 403]);
  assert.deepEqual([await get(scraping), await get(ADMIN_TOKEN)], [200, 200]);
  const { body } = await app.call('GET', '/apiops/projects/', { token: scraping });
  assert.deepEqual(
    [body.resultCount, (await app.call('GET', '/apiops/users/', { token: scraping })).status],
    [0, 403],
  );
  isLocal = true;
  assert.equal(await get(), 200);
  await server.close();
});
