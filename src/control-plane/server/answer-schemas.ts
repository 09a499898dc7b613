import { Type } from 'typebox';
import { listOf } from './list-query.ts';

/** Of answers that hold more than was asked for to be said. */
export const warnings = Type.Optional(Type.Array(Type.String()));

/** Connections as Get and the list answer them. */
export const connectionList = listOf(
  Type.Object(
    { type: Type.String(), name: Type.String() },
    {
      additionalProperties: true,
      description:
        'All fields of its type with their defaults, null for what is unset; Update accepts it as it is. Secrets are null in lists, and without CONNECTIONS:REVEAL.',
    },
  ),
);

/** What the workers made of a change. */
export const deploymentResult = Type.Object({
  success: Type.Boolean({ description: 'Every connected worker of every environment calls it valid' }),
  deploymentResults: Type.Array(
    Type.Object({
      environmentName: Type.String(),
      success: Type.Boolean(),
      message: Type.String(),
      workers: Type.Array(
        Type.Object({
          worker: Type.String(),
          success: Type.Boolean(),
          message: Type.Optional(Type.String()),
          warnings,
        }),
      ),
    }),
  ),
});

/** The answer to a change of a connection, to a deployment by hand, and to a body that is only checked. */
export const connectionChangeAnswer = Type.Object({
  success: Type.Literal(true, { description: 'Stored durably' }),
  deploymentResult: Type.Optional(deploymentResult),
  deploymentId: Type.Optional(
    Type.String({ description: 'With ?async=true, of a change that workers take up' }),
  ),
  warnings,
});
