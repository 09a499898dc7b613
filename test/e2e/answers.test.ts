import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';

const project = '/apiops/projects/MyProject/';
const one = `${project}connections/hook/`;
const template = '/apiops/projects/{project}/connections/{connection}/';
const target = createServer((_request, response) => response.end('{"taken":true}'));
const ajv = new Ajv2020({ strict: false });

let plugboard: Plugboard;
// biome-ignore lint/suspicious/noExplicitAny: the document is of any form
let paths: any;
let hook: { type: string; name: string; fullUrl: string };

before(async () => {
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  plugboard = await startPlugboard();
  paths = (await plugboard.call('GET', '/apiops/openapi.json')).body.paths;
  hook = {
    type: 'webhook',
    name: 'hook',
    fullUrl: `http://127.0.0.1:${(target.address() as AddressInfo).port}/`,
  };
});
after(async () => {
  await plugboard.stop();
  target.close();
});

/** A schema by which what it does not name is a fault, so that nothing is answered that the document does not say. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]));
  const isShape = 'properties' in inner && inner['additionalProperties'] === undefined;
  return isShape ? { ...inner, additionalProperties: false } : inner;
}

function checkAnswer(answer: Answer, method: string, path: string): void {
  assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`);
  const { schema } = paths[path][method].responses['200'].content['application/json'];
  assert.ok(schema.properties, `${method} ${path} says what it answers`);
  const validate = ajv.compile(closed(schema) as object);
  assert.ok(validate(answer.body), `${method} ${path}: ${JSON.stringify(validate.errors)} in ${answer.text}`);
}

test('what changes a connection answers as the document says', async () => {
  const call = async (method: 'POST' | 'PUT' | 'DELETE', path: string, body?: object) => {
    const [asked, query = ''] = path.split('?');
    const answer = await plugboard.call(method, `${one}${asked}${query && `?${query}`}`, body);
    checkAnswer(answer, method.toLowerCase(), `${template}${asked!.replace(/\d+/, '{revision}')}`);
    return answer.body;
  };
  await call('POST', 'validate/', hook);
  const { deploymentResult } = await call('POST', '', hook);
  assert.equal(deploymentResult.deploymentResults[0].workers.length, 1);
  assert.ok((await call('PUT', '?async=true', { ...hook, description: 'changed' })).deploymentId);
  await call('POST', 'undeploy/');
  await call('POST', 'deploy/?prove=true');
  await call('POST', 'revisions/1/restore/');
  await call('DELETE', '');
});

test('what connections refer to answers as the document says', async () => {
  const variables = `${project}environmentVariables/`;
  const value = (globalValue: string) => ({ name: 'PLACE', global: true, globalVisible: true, globalValue });
  await plugboard.ok('POST', variables, value('a'));
  await plugboard.ok('POST', `${project}connections/placed/`, {
    ...hook,
    name: 'placed',
    fullUrl: `${hook.fullUrl}\${PLACE}`,
  });
  const changed = await plugboard.call('PUT', `${variables}PLACE/`, value('b'));
  checkAnswer(changed, 'put', '/apiops/projects/{project}/environmentVariables/{name}/');
  assert.match(changed.body.deploymentResult.deploymentResults[0].message, /^1 of 1 connection/);
});

test('reads, tests and operations answer as the document says, where they fail too', async () => {
  await plugboard.ok('POST', one, hook);
  checkAnswer(await plugboard.call('GET', one), 'get', template);
  const list = await plugboard.call('GET', `${project}connections/?type=webhook`);
  checkAnswer(list, 'get', '/apiops/projects/{project}/connections/');
  const passed = await plugboard.call('POST', `${one}test/`);
  checkAnswer(passed, 'post', `${template}test/`);
  assert.equal(passed.body.success, true);
  const dead = { ...hook, name: 'dead', fullUrl: 'http://127.0.0.1:9/' };
  const failed = await plugboard.call('POST', `${project}connection-test/`, dead);
  checkAnswer(failed, 'post', '/apiops/projects/{project}/connection-test/');
  assert.equal(failed.body.success, false);
  assert.ok(failed.body.results[0].stages.some(({ code }: { code?: string }) => code));
  const sent = await plugboard.call('POST', `${one}operations/call/`, { body: 'x' });
  checkAnswer(sent, 'post', `${template}operations/{operation}/`);
});
