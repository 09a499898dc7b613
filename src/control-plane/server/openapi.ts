import type { FastifyInstance, RouteOptions } from 'fastify';
import { definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { connectionBodySchema, connectionSchemas, itemSchema } from '../../contract/json-schema.ts';
import { NDJSON } from '../../contract/ndjson.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the body is, where the route checks it by itself. */
    body?: 'connection' | 'operation' | 'form' | 'multipart';
    /** Schema of the answer, where the route puts its JSON together by itself. */
    answer?: object;
    /** Schema of a line of the answer that a client gets which accepts application/x-ndjson. */
    lines?: object;
  }
}

type Schema = Record<string, unknown>;

interface Operation {
  method: string;
  path: string;
  document: Schema;
}

const errorStatuses: Record<string, string> = {
  '400': 'A fault of the request; validation_errors names each field',
  '401': 'Invalid token',
  '403': 'The token lacks a permission',
  '404': 'Not there, or not visible to the token',
  default: 'Any other error: each is in docs/reference/errors.md, with its code, and whether to retry',
};

/** Collects the routes as they are registered and answers their OpenAPI 3.1 document, made when first asked for. */
export function collectOpenApi(app: FastifyInstance, version: string): () => Schema {
  const operations: Operation[] = [];
  app.addHook('onRoute', (route) => {
    if (!route.url.startsWith('/') || route.schema?.hide) return;
    for (const method of [route.method].flat())
      operations.push({ method: method.toLowerCase(), path: route.url, document: describe(route) });
  });
  let document: Schema | undefined;
  return () => {
    document ??= assemble(operations, version);
    return document;
  };
}

function describe(route: RouteOptions): Schema {
  const schema = (route.schema ?? {}) as {
    tags?: string[];
    summary?: string;
    description?: string;
    params?: Schema;
    querystring?: Schema;
    body?: Schema;
    response?: Record<string, Schema>;
  };
  const { access, body, lines, answer } = route.config ?? {};
  const permissions = typeof access === 'object' ? access.project : access === 'admin' ? ['ADMIN'] : [];
  return {
    ...(schema.tags ? { tags: schema.tags } : {}),
    ...(schema.summary ? { summary: schema.summary } : {}),
    ...(schema.description || permissions.length > 0
      ? {
          description: [schema.description, permissions.length > 0 && `Needs ${permissions.join(' and ')}.`]
            .filter(Boolean)
            .join(' '),
        }
      : {}),
    ...(access === 'public' ? { security: [] } : {}),
    parameters: [...parameters('path', schema.params), ...parameters('query', schema.querystring)],
    ...requestBody(schema.body, body),
    responses: {
      '200': {
        description: 'Done',
        content: {
          'application/json': { schema: answer ?? schema.response?.['200'] ?? { type: 'object' } },
          ...(lines ? { [NDJSON]: { schema: lines } } : {}),
        },
      },
      ...Object.fromEntries(
        Object.entries(errorStatuses).map(([status, description]) => [
          status,
          {
            description,
            content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
          },
        ]),
      ),
    },
  };
}

function parameters(place: 'path' | 'query', schema: Schema | undefined): Schema[] {
  const properties = (schema?.['properties'] ?? {}) as Record<string, Schema>;
  const required = (schema?.['required'] ?? []) as string[];
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description ? { description } : {}),
    schema: rest,
  }));
}

function requestBody(
  schema: Schema | undefined,
  kind: 'connection' | 'operation' | 'form' | 'multipart' | undefined,
): Schema {
  const of = (content: Schema, type = 'application/json') => ({
    requestBody: { required: true, content: { [type]: { schema: content } } },
  });
  if (kind === 'connection') return of({ $ref: '#/components/schemas/ConnectionBody' });
  if (kind === 'operation')
    return {
      requestBody: {
        required: true,
        content: {
          'application/json': { schema: { $ref: '#/components/schemas/OperationInput' } },
          [NDJSON]: { schema: { $ref: '#/components/schemas/OperationItem' } },
        },
      },
    };
  if (kind === 'form') return of(schema ?? { type: 'object' }, 'application/x-www-form-urlencoded');
  if (kind === 'multipart' && schema)
    return {
      requestBody: {
        required: true,
        content: { 'application/json': { schema }, 'multipart/form-data': { schema } },
      },
    };
  return schema ? of(schema) : {};
}

function assemble(operations: Operation[], version: string): Schema {
  const all = Object.values(definitions) as ConnectionType[];
  const paths: Record<string, Schema> = {};
  for (const { method, path, document } of operations) {
    const template = path.replace(/:([A-Za-z]+)/g, '{$1}');
    paths[template] = { ...paths[template], [method]: document };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Plugboard',
      version,
      description:
        'Connections: defined once, sealed, proven from where they are used, deployed live, used by name.',
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: {
        ...connectionSchemas(all),
        ConnectionBody: connectionBodySchema(all),
        OperationInput: {
          anyOf: all.flatMap((definition) =>
            Object.entries(definition.operations).map(([name, { input }]) => ({
              title: `${definition.type} ${name}`,
              ...input,
            })),
          ),
        },
        OperationItem: {
          description: 'One line of the body of an operation that takes a stream of items.',
          anyOf: all.flatMap((definition) =>
            Object.entries(definition.operations).flatMap(([name, operation]) =>
              operation.stream
                ? [{ title: `${definition.type} ${name}`, ...itemSchema(operation, operation.stream) }]
                : [],
            ),
          ),
        },
        Error: {
          type: 'object',
          required: ['error', 'error_description'],
          properties: {
            error: { type: 'string' },
            error_description: { type: 'string' },
            reason: { type: 'string' },
            validation_errors: {
              type: 'array',
              items: {
                type: 'object',
                required: ['field', 'message'],
                properties: { field: { type: 'string' }, message: { type: 'string' } },
              },
            },
            retryable: { type: 'boolean' },
            stage: { type: 'string' },
            hint: { type: 'string' },
            retry_after: { type: 'integer' },
            request_id: { type: 'string' },
          },
        },
      },
    },
  };
}
