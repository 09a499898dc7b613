import { definitions } from '../../src/connectors/definitions.ts';
import { bodyWith, fullBody, minimalBody, sampleValue } from '../../src/connectors/sample-body.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { allFields } from '../../src/contract/definition-schema.ts';
import { fittingValue, mutated, oddTexts, oddValue, type Schema } from './fuzz-values.ts';
import { type SeededRandom, seededRandom } from './seeded-random.ts';

export interface FuzzRequest {
  method: string;
  /** The route of the OpenAPI document. */
  template: string;
  url: string;
  headers: Record<string, string>;
  payload?: string | Buffer;
}

interface Subject {
  name: string;
  definition: ConnectionType;
}

interface Parameter {
  name: string;
  in: string;
  schema: Schema;
}

interface Operation {
  method: string;
  template: string;
  parameters: Parameter[];
  body?: Schema;
  isForm: boolean;
  weight: number;
}

export interface OpenApiDocument {
  paths: Record<string, Record<string, Record<string, unknown>>>;
  components: { schemas: Record<string, Schema> };
}

export interface FuzzCallers {
  /** Of administrators; several, because some limits are by token. */
  tokens: readonly string[];
  /** Valid, but without most permissions. */
  weakTokens: readonly string[];
  project: string;
}

const all = Object.values(definitions) as unknown as ConnectionType[];
/** Each name has its type, so that updates and operations fit what is stored. What has a live half comes more often. */
const subjects: readonly Subject[] = all.flatMap((definition) =>
  Array.from({ length: /email|webhook|database/.test(definition.type) ? 8 : 2 }, (_, index) => ({
    name: `${definition.type} ${index}`,
    definition,
  })),
);
const scratch = Array.from({ length: 6 }, (_, index) => `scratch-${index}`);

/** Makes the request of a number: the same seed and number make the same request. */
export function fuzzRequests(document: OpenApiDocument, callers: FuzzCallers, seed: number) {
  const operations = readOperations(document);
  const total = operations.reduce((sum, { weight }) => sum + weight, 0);
  return {
    operations: operations.map(({ method, template }) => `${method} ${template}`),
    make(index: number): FuzzRequest {
      const random = seededRandom(Math.imul(seed, 1_000_003) + index);
      let at = random.next() * total;
      // Each route has its turn first, so that no seed leaves one out.
      const operation =
        operations[index] ??
        operations.find(({ weight }) => {
          at -= weight;
          return at < 0;
        }) ??
        operations[0]!;
      return request(operation, random, document.components.schemas, callers);
    },
  };
}

function readOperations({ paths }: OpenApiDocument): Operation[] {
  return Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, described]) => {
      const content = (
        described['requestBody'] as { content?: Record<string, { schema: Schema }> } | undefined
      )?.content;
      const [type, body] = Object.entries(content ?? {})[0] ?? [];
      return {
        method: method.toUpperCase(),
        template,
        parameters: (described['parameters'] ?? []) as Parameter[],
        ...(body ? { body: body.schema } : {}),
        isForm: type === 'application/x-www-form-urlencoded',
        weight: weightOf(method, template),
      };
    }),
  );
}

/** What takes bodies of connections comes often; what hashes passwords costs much and comes seldom. */
function weightOf(method: string, template: string): number {
  if (/users|auth\/token/.test(template) && method !== 'get' && method !== 'delete') return 0.1;
  if (/openapi|metrics|connection-types/.test(template)) return 0.3;
  if (/audit/.test(template)) return 0.5;
  if (/\{connection\}\/$/.test(template) && method === 'delete') return 1.5;
  if (/\{connection\}\/$|connection-test|validate|operations/.test(template)) return 6;
  return 1;
}

function request(
  operation: Operation,
  random: SeededRandom,
  components: Record<string, Schema>,
  callers: FuzzCallers,
): FuzzRequest {
  const { method, template } = operation;
  const subject = random.pick(subjects);
  let url = template.replace(/\{(\w+)\}/g, (_, parameter: string) =>
    pathValue(parameter, template, method, subject, random, callers),
  );
  if (random.chance(0.02)) url = oddPath(url, random);
  url += query(operation, random);
  const made: FuzzRequest = { method, template, url, headers: headers(random, callers) };
  if (random.chance(0.01))
    made.method = random.pick(['PATCH', 'PUT', 'POST', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE']);
  const body = payload(operation, subject, random, components);
  if (body !== undefined) {
    made.payload = body;
    made.headers['content-type'] = random.chance(0.97)
      ? operation.isForm
        ? 'application/x-www-form-urlencoded'
        : 'application/json'
      : random.pick([
          'text/plain',
          'application/json; charset=utf-16',
          'APPLICATION/JSON',
          'application/json;;;',
          'multipart/form-data; boundary=x',
          'application/x-www-form-urlencoded',
          'application/xml',
          '/',
          'a'.repeat(3000),
        ]);
  }
  return made;
}

function pathValue(
  parameter: string,
  template: string,
  method: string,
  { name, definition }: Subject,
  random: SeededRandom,
  { project }: FuzzCallers,
): string {
  if (random.chance(0.03)) return encoded(random.pick(oddTexts), random);
  switch (parameter) {
    case 'project':
      // What changes or deletes a project has projects of its own.
      if (template.endsWith('{project}/') && method !== 'GET') return random.pick(scratch);
      return random.chance(0.97) ? project : random.pick([...scratch, project.toUpperCase(), 'nowhere']);
    case 'environment':
      return method === 'PUT' || method === 'DELETE'
        ? random.pick(scratch)
        : random.pick(['production', ...scratch]);
    case 'connection':
      return encodeURIComponent(random.chance(0.9) ? name : name.toUpperCase());
    case 'revision':
      return random.pick(['1', '2', '3', '0', '-1', '1.5', '9999999999', '99999999999999999999', '1e1']);
    case 'operation':
      return random.pick(random.chance(0.9) ? Object.keys(definition.operations) : ['nothing', 'toString']);
    case 'type':
      return random.pick([...Object.keys(definitions), 'none', '__proto__']);
    case 'username':
      return random.pick(scratch);
    default:
      return random.pick(['x', 'AAAAAAAAAAAA', '0']);
  }
}

function encoded(text: string, random: SeededRandom): string {
  const safe = encodeURIComponent(text.toWellFormed());
  if (random.chance(0.3))
    return random.pick(['%', '%2', '%zz', '%c0%af', '%ff', '%ed%a0%80', '%252f', '%2e%2e', '.', safe]);
  return safe === '' ? '%20' : safe;
}

function oddPath(url: string, random: SeededRandom): string {
  return random.pick([
    () => url.replace(/\/$/, ''),
    () => `${url}/`,
    () => url.replace('/apiops', '//apiops'),
    () => url.replace('/apiops', '/APIOPS'),
    () => url.replaceAll('/', '//'),
    () => url.replace(/\/([^/]*)$/, '%2f$1'),
    () => `${url}..%2f..%2f`,
    () => `${url};a=b`,
    () => `${url}%00`,
    () => `/${'a/'.repeat(2000)}`,
    () => `${url}${'x'.repeat(5000)}`,
  ])();
}

function query({ parameters, template }: Operation, random: SeededRandom): string {
  const pairs: string[] = [];
  for (const { name, in: place, schema } of parameters) {
    if (place !== 'query') continue;
    const isType = name === 'type' && random.chance(0.9);
    if (!isType && random.chance(0.6)) continue;
    const value = isType
      ? random.pick(['*', 'email', 'email,webhook', 'none', ...Object.keys(definitions)])
      : queryValue(name, schema, random);
    pairs.push(`${name}=${value}`);
    if (random.chance(0.03)) pairs.push(`${name}=${queryValue(name, schema, random)}`);
  }
  // Waiting for workers is tried often enough without being asked for.
  if (parameters.some(({ name }) => name === 'async') && random.chance(0.7)) pairs.push('async=true');
  // A long audit is not what is looked for here.
  if (/audit/.test(template) && random.chance(0.95)) pairs.push('size=5');
  if (random.chance(0.03))
    pairs.push(
      random.pick(['unknown=1', '=', '&&', '__proto__=1', 'a[]=1', '%=%', 'size[x]=1', 'page=1;size=2']),
    );
  return pairs.length > 0 ? `?${pairs.join('&')}` : '';
}

function queryValue(name: string, schema: Schema, random: SeededRandom): string {
  if (random.chance(0.06)) return encoded(random.pick(oddTexts), random);
  switch (name) {
    case 'environment':
      return random.pick(['production', 'scratch-0', 'nowhere']);
    case 'worker':
      return random.pick(['embedded', 'other']);
    case 'timeoutMs':
    case 'deployTimeoutMs':
      return random.pick(['1', '20', '50', '100']);
    case 'sort':
      return random.pick(['name', 'name,desc', 'type,asc', 'name,', 'revision,asc']);
    case 'from':
    case 'to':
      return random.pick(['2026-01-01T00:00:00Z', '2026-01-01', '0', '2026-13-45T99:99:99Z']);
    default:
      return encodeURIComponent(String(fittingValue(schema, random, {})).toWellFormed());
  }
}

function headers(random: SeededRandom, { tokens, weakTokens }: FuzzCallers): Record<string, string> {
  const token = random.pick(tokens);
  const result: Record<string, string> = {};
  if (random.chance(0.94))
    result['authorization'] = `Bearer ${random.chance(0.95) ? token : random.pick(weakTokens)}`;
  else if (random.chance(0.8))
    result['authorization'] = random.pick([
      'Bearer',
      'Bearer ',
      `bearer ${token}`,
      `Bearer  ${token} `,
      `Bearer ${token},Bearer x`,
      `Basic ${token}`,
      token,
      `Bearer ${'x'.repeat(9000)}`,
      `Bearer ${token.slice(0, -1)}`,
      'Bearer \u00ff\u00fe',
    ]);
  if (random.chance(0.05))
    result['if-match'] = random.pick(['*', '"x.1"', 'W/"x"', '', ',,,', '"', 'x'.repeat(5000)]);
  if (random.chance(0.08))
    result['idempotency-key'] = random.pick([
      `key-${random.below(40)}`,
      '',
      ' ',
      'k'.repeat(300),
      '\u00ff',
      '__proto__',
    ]);
  if (random.chance(0.02)) result['x-http-method-override'] = random.pick(['DELETE', 'GET']);
  if (random.chance(0.01)) result['content-length'] = random.pick(['-1', 'x', '999999999']);
  if (random.chance(0.01)) result['accept'] = random.pick(['text/html', 'image/png', '/']);
  return result;
}

function payload(
  operation: Operation,
  subject: Subject,
  random: SeededRandom,
  components: Record<string, Schema>,
): string | Buffer | undefined {
  if (operation.body === undefined) return random.chance(0.05) ? JSON.stringify(oddValue(random)) : undefined;
  if (random.chance(0.02)) return undefined;
  if (random.chance(0.02)) return malformed(random);
  const input = Object.values(subject.definition.operations)[0]?.input as Schema | undefined;
  const schema = operation.template.includes('/operations/') && input ? input : operation.body;
  let value = isConnectionBody(operation.body)
    ? connectionBody(subject, random, components)
    : fittingValue(schema, random, components);
  if (!isConnectionBody(operation.body) && typeof value === 'object' && value !== null)
    for (const field of ['name', 'username'])
      if (Object.hasOwn(value, field) && random.chance(0.7))
        (value as Record<string, unknown>)[field] = random.pick(scratch);
  if (random.chance(0.35)) value = mutated(value, random);
  if (operation.isForm) return form(value, random);
  return JSON.stringify(value) ?? 'null';
}

function isConnectionBody(schema: Schema): boolean {
  return schema['$ref'] === '#/components/schemas/ConnectionBody';
}

/** Mostly taken as it is: from the samples of a type, with some fields as their schemas say. */
function connectionBody(
  { name, definition: own }: Subject,
  random: SeededRandom,
  components: Record<string, Schema>,
): Record<string, unknown> {
  const definition = random.chance(0.95) ? own : random.pick(all);
  const fields = allFields(definition);
  const names = Object.keys(fields);
  let body: Record<string, unknown>;
  if (random.chance(0.3)) body = cached(`full ${definition.type}`, () => fullBody(definition));
  else if (random.chance(0.5)) body = cached(`minimal ${definition.type}`, () => minimalBody(definition));
  else {
    const field = random.pick(names);
    const other = random.chance(0.5);
    body = cached(`${definition.type} ${field} ${other}`, () =>
      bodyWith(definition, { [field]: sampleValue(definition, field, other) }),
    );
  }
  body['name'] = name;
  // The samples name environments that are not there.
  if (random.chance(0.9)) delete body['environments'];
  if (random.chance(0.9)) delete body['selectedEnvironmentId'];
  // The full ones are switched off; most should be live.
  for (const field of ['enabled', 'deployToWorker']) if (random.chance(0.9)) delete body[field];
  if (random.chance(0.25)) {
    const field = random.pick(names);
    body[field] = fittingValue(fields[field] as Schema, random, components);
  }
  return body;
}

const bodies = new Map<string, Record<string, unknown>>();

function cached(key: string, make: () => Record<string, unknown>): Record<string, unknown> {
  const body = bodies.get(key) ?? make();
  bodies.set(key, body);
  return structuredClone(body);
}

function form(value: unknown, random: SeededRandom): string {
  if (typeof value !== 'object' || value === null) return '&=&%%%=%zz';
  const fields = { ...(random.chance(0.7) ? { grant_type: 'client_credentials' } : {}), ...value };
  return Object.entries(fields)
    .map(
      ([name, one]) =>
        `${encodeURIComponent(name.toWellFormed())}=${encodeURIComponent(String(JSON.stringify(one)))}`,
    )
    .join('&');
}

function malformed(random: SeededRandom): string | Buffer {
  return random.pick<() => string | Buffer>([
    () => '{',
    () => '{"type":"email",}',
    () => '{"a":1}{"b":2}',
    () => 'NaN',
    () => '',
    () => '\u0000',
    () => '\ufeff{"type":"email"}',
    () => "{'type':'email'}",
    () => '{"__proto__":{"admin":true},"type":"email"}',
    () => '{"constructor":{"prototype":{"admin":true}},"type":"email"}',
    () => '{"type":"email","type":"webhook"}',
    () => '['.repeat(20_000),
    () => '['.repeat(5000) + ']'.repeat(5000),
    () => `{"type":"email","description":"${'x'.repeat(1_100_000)}"}`,
    () => `{"type":"email","labels":{${Array.from({ length: 20_000 }, (_, i) => `"k${i}":"v"`).join()}}}`,
    () => Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
    () => '{"port":1e999}',
    () => '{"type":"\\ud800"}',
  ])();
}
