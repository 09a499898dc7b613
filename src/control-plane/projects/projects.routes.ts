import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { Access } from '../auth/access.ts';
import { callerOf } from '../auth/caller.ts';
import { contentTag, preconditionOf } from '../server/entity-tag.ts';
import { descriptionField, nameField, nullableText, pathSegment } from '../server/field-schemas.ts';
import { listed, listOf, listQuery, requireSameName, single, successAnswer } from '../server/list-query.ts';
import { type Projects, viewOfProject } from './projects.service.ts';

const tags = ['projects'];
const ENVIRONMENTS_MAX = 100;

const projectView = Type.Object({
  name: Type.String(),
  description: nullableText,
  environments: Type.Array(Type.String()),
});

const name = nameField('Matched exactly');
const environments = Type.Optional(
  Type.Array(Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$' }), {
    maxItems: ENVIRONMENTS_MAX,
    uniqueItems: true,
    description: 'Names of environments; default `production`',
  }),
);

/** GET and POST /apiops/projects/, GET, PUT and DELETE /apiops/projects/{project}/. */
export function projectRoutes(
  instance: FastifyInstance,
  services: { projects: Projects; access: Access },
): void {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();
  const { projects, access } = services;
  const params = Type.Object({ project: pathSegment });

  app.get(
    '/apiops/projects/',
    {
      config: { access: 'token' },
      schema: {
        summary: 'List the projects that the token sees',
        tags,
        querystring: listQuery,
        response: { 200: listOf(projectView) },
      },
    },
    async (request) => {
      const seen = projects.list().filter((row) => access.seesProject(request.principal, row.name));
      return listed(seen.map(viewOfProject), request.query, {
        searched: ['name', 'description'],
        sortable: ['name'],
      });
    },
  );

  app.get(
    '/apiops/projects/:project/',
    {
      config: { access: { project: [] } },
      schema: { summary: 'Get a project', tags, params, response: { 200: listOf(projectView) } },
    },
    async (request, reply) => {
      const project = viewOfProject(request.project);
      reply.header('etag', contentTag(project));
      return single(project);
    },
  );

  app.post(
    '/apiops/projects/',
    {
      config: { access: 'admin' },
      schema: {
        summary: 'Create a project',
        tags,
        body: Type.Object(
          { name, description: Type.Optional(descriptionField), environments },
          { additionalProperties: false },
        ),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      await projects.create(callerOf(request), request.body);
      return { success: true as const };
    },
  );

  app.put(
    '/apiops/projects/:project/',
    {
      config: { access: { project: ['PROJECT:MANAGE'] } },
      schema: {
        summary: 'Change a project; what is left out stays',
        description:
          'Changing the environments of a project whose connections hold secrets needs CONNECTIONS:REVEAL on each of them.',
        tags,
        params,
        body: Type.Object(
          { name: Type.Optional(name), description: Type.Optional(descriptionField), environments },
          { additionalProperties: false },
        ),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      const { name: named, ...input } = request.body;
      requireSameName('name', request.params.project, named);
      await projects.update(
        callerOf(request),
        request.principal,
        request.project,
        input,
        preconditionOf(request),
      );
      return { success: true as const };
    },
  );

  app.delete(
    '/apiops/projects/:project/',
    {
      config: { access: 'admin' },
      schema: {
        summary: 'Delete a project; one with connections only by force, which deletes them too',
        tags,
        params,
        querystring: Type.Object(
          { force: Type.Optional(Type.String({ enum: ['true', 'false'] })) },
          { additionalProperties: false },
        ),
        response: { 200: successAnswer },
      },
    },
    async (request) => {
      await projects.remove(
        callerOf(request),
        request.project.name,
        request.query.force === 'true',
        preconditionOf(request),
      );
      return { success: true as const };
    },
  );
}
