import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { callerOf } from '../auth/caller.ts';
import { contentTag, preconditionOf } from '../server/entity-tag.ts';
import {
  descriptionField,
  lineField,
  nameField,
  nullableText,
  pathSegment,
} from '../server/field-schemas.ts';
import { listed, listOf, listQuery, requireSameName, single, successAnswer } from '../server/list-query.ts';
import {
  ENVIRONMENT_TYPES,
  type Environments,
  type EnvironmentType,
  viewOfEnvironment,
} from './environments.service.ts';

const tags = ['environments'];
const config = { access: 'admin' } as const;

const environmentView = Type.Object({
  name: Type.String(),
  description: nullableText,
  type: Type.String({ enum: [...ENVIRONMENT_TYPES] }),
});

const enrollmentView = Type.Object({
  id: Type.String(),
  name: Type.String(),
  createdAt: Type.String(),
  createdBy: Type.String(),
});

const name = nameField('Matched exactly');
const description = Type.Optional(descriptionField);
const type = Type.Optional(
  Type.Unsafe<EnvironmentType>({
    type: 'string',
    enum: [...ENVIRONMENT_TYPES],
    description: 'Default PRODUCTION',
  }),
);

/** Environments and the enrolment tokens of their workers, under /apiops/environments/. */
export function environmentRoutes(instance: FastifyInstance, services: { environments: Environments }): void {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();
  const { environments } = services;
  const params = Type.Object({ environment: pathSegment });

  app.get(
    '/apiops/environments/',
    {
      config,
      schema: {
        summary: 'List environments',
        tags,
        querystring: listQuery,
        response: { 200: listOf(environmentView) },
      },
    },
    async (request) =>
      listed(environments.list().map(viewOfEnvironment), request.query, {
        searched: ['name', 'description'],
        sortable: ['name', 'type'],
      }),
  );

  app.get(
    '/apiops/environments/:environment/',
    {
      config,
      schema: { summary: 'Get an environment', tags, params, response: { 200: listOf(environmentView) } },
    },
    async (request, reply) => {
      const environment = viewOfEnvironment(environments.get(request.params.environment));
      reply.header('etag', contentTag(environment));
      return single(environment);
    },
  );

  app.post(
    '/apiops/environments/',
    {
      config,
      schema: {
        summary: 'Create an environment',
        tags,
        body: Type.Object({ name, description, type }, { additionalProperties: false }),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      await environments.create(callerOf(request), request.body);
      return { success: true as const };
    },
  );

  app.put(
    '/apiops/environments/:environment/',
    {
      config,
      schema: {
        summary: 'Change an environment; what is left out stays',
        tags,
        params,
        body: Type.Object({ name: Type.Optional(name), description, type }, { additionalProperties: false }),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      const { name: named, ...input } = request.body;
      requireSameName('name', request.params.environment, named);
      await environments.update(
        callerOf(request),
        request.params.environment,
        input,
        preconditionOf(request),
      );
      return { success: true as const };
    },
  );

  app.delete(
    '/apiops/environments/:environment/',
    {
      config,
      schema: {
        summary: 'Delete an environment that no project and no enrollment token refers to',
        tags,
        params,
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      await environments.remove(callerOf(request), request.params.environment, preconditionOf(request));
      return { success: true as const };
    },
  );

  app.get(
    '/apiops/environments/:environment/enrollment-tokens/',
    {
      config,
      schema: {
        summary: "List the workers' credentials of an environment, without the tokens",
        tags,
        params,
        querystring: listQuery,
        response: { 200: listOf(enrollmentView) },
      },
    },
    async (request) => {
      const views = environments.enrollments(request.params.environment).map((row) => ({
        id: row.id,
        name: row.name,
        createdAt: new Date(row.created_at).toISOString(),
        createdBy: row.created_by,
      }));
      return listed(views, request.query, { searched: ['name'], sortable: ['name', 'createdAt'] });
    },
  );

  app.post(
    '/apiops/environments/:environment/enrollment-tokens/',
    {
      config: { ...config, oneTimeSecrets: ['token'] },
      schema: {
        summary: "Make a worker's credential, which is shown this once",
        tags,
        params,
        body: Type.Object({ name: lineField('For people') }, { additionalProperties: false }),
        response: {
          200: Type.Object({ success: Type.Literal(true), id: Type.String(), token: nullableText }),
        },
      },
    },
    async (request, reply) => {
      const { environment } = request.params;
      const made = await environments.enroll(callerOf(request), environment, request.body.name);
      reply.header('cache-control', 'no-store');
      return { success: true as const, ...made };
    },
  );

  app.delete(
    '/apiops/environments/:environment/enrollment-tokens/:id/',
    {
      config,
      schema: {
        summary: "End a worker's credential and its stream",
        tags,
        params: Type.Object({ environment: pathSegment, id: pathSegment }),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      const { environment, id } = request.params;
      await environments.revokeEnrollment(callerOf(request), environment, id);
      return { success: true as const };
    },
  );
}
