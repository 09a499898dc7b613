import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { Referrers } from '../connections/referrers.ts';
import { descriptionField, nullableText } from '../server/field-schemas.ts';
import { type NamedObjects, namedObjectRoutes } from '../server/named-object.routes.ts';
import type { VariableInput, VariableView } from './variables.service.ts';

const valueField = Type.Optional(
  Type.Unsafe<string | null>({
    type: ['string', 'null'],
    maxLength: 65_536,
    pattern: '^[^\\u0000]*$',
    description: 'null keeps a value that is not visible.',
  }),
);
const visibleField = Type.Optional(
  Type.Unsafe<boolean | null>({
    type: ['boolean', 'null'],
    description:
      'false: stored sealed, never read back, and only ever a whole secret of a connection. Default true.',
  }),
);

const body = Type.Object(
  {
    name: Type.Optional(
      Type.String({
        maxLength: 255,
        pattern: '^[A-Za-z_][A-Za-z0-9_]*$',
        description: 'Connections write it as ${NAME}.',
      }),
    ),
    description: Type.Optional(descriptionField),
    global: Type.Optional(
      Type.Unsafe<boolean | null>({
        type: ['boolean', 'null'],
        description: 'globalValue holds in every environment that has no value of its own.',
      }),
    ),
    globalValue: valueField,
    globalVisible: visibleField,
    allowedHosts: Type.Optional(
      Type.Unsafe<string[] | null>({
        type: ['array', 'null'],
        maxItems: 200,
        items: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9_.:*-]+$' },
        description:
          'Host globs (`*.corp.example`) to which a value that is not visible may be sent without VARIABLES:MANAGE.',
      }),
    ),
    environmentValueList: Type.Optional(
      Type.Unsafe<VariableInput['environmentValueList']>({
        type: ['array', 'null'],
        maxItems: 200,
        items: Type.Object(
          {
            environmentName: Type.String({ minLength: 1, maxLength: 255 }),
            value: valueField,
            visible: visibleField,
          },
          { additionalProperties: false },
        ),
      }),
    ),
  },
  { additionalProperties: false },
);

const view = Type.Object({
  name: Type.String(),
  description: nullableText,
  global: Type.Boolean(),
  globalValue: nullableText,
  globalVisible: Type.Boolean(),
  allowedHosts: Type.Array(Type.String()),
  environmentValueList: Type.Array(
    Type.Object({ environmentName: Type.String(), value: nullableText, visible: Type.Boolean() }),
  ),
});

const maxBodyBytes = 1024 * 1024;

/** Everything under `/apiops/projects/{project}/environmentVariables/`. */
export function variableRoutes(
  app: FastifyInstance,
  services: {
    variables: NamedObjects<VariableInput, VariableView>;
    referrers: Referrers;
    deployTimeoutMs: number;
  },
): void {
  namedObjectRoutes(app, {
    path: 'environmentVariables',
    title: 'environment variable',
    permissions: { view: 'VARIABLES:VIEW', manage: 'VARIABLES:MANAGE' },
    objects: services.variables,
    body,
    view,
    bodyLimit: maxBodyBytes,
    referrers: services.referrers,
    deployTimeoutMs: services.deployTimeoutMs,
  });
}
