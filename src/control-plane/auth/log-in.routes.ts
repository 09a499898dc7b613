import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { AppError } from '../../errors.ts';
import { registerFormParser } from './form-parser.ts';
import type { LogIn } from './log-in.service.ts';

const CREDENTIAL_MAX_LENGTH = 1024;

/** POST /apiops/auth/token: OAuth 2 client credentials (RFC 6749, 4.4), form-encoded. */
export function logInRoutes(
  app: FastifyInstance,
  services: { logIn: LogIn; addressOf: (request: FastifyRequest) => string },
): void {
  // Forms are read here alone; everywhere else they are an unsupported media type.
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    registerFormParser(scope);
    scope.withTypeProvider<TypeBoxTypeProvider>().post(
      '/apiops/auth/token',
      {
        config: { access: 'public', body: 'form' },
        schema: {
          summary: 'Exchange a username and password for a token of one hour',
          tags: ['authentication'],
          security: [],
          consumes: ['application/x-www-form-urlencoded'],
          body: Type.Object({
            grant_type: Type.Optional(Type.String({ description: '`client_credentials`' })),
            client_id: Type.Optional(Type.String({ description: 'Username' })),
            client_secret: Type.Optional(Type.String({ description: 'Password' })),
          }),
          response: {
            200: Type.Object({
              access_token: Type.String(),
              token_type: Type.Literal('Bearer'),
              expires_in: Type.Integer({ description: 'Seconds' }),
            }),
          },
        },
      },
      async (request, reply) => {
        const { grant_type: grantType, client_id: username, client_secret: password } = request.body;
        if (grantType === undefined) throw missing('grant_type');
        if (grantType !== 'client_credentials') throw new AppError('unsupported_grant_type');
        if (!username) throw missing('client_id');
        if (!password) throw missing('client_secret');
        if (Math.max(username.length, password.length) > CREDENTIAL_MAX_LENGTH) {
          throw new AppError('unauthorized_client', 'Bad credentials');
        }
        const { token, expiresInSeconds } = await services.logIn.logIn({
          username,
          password,
          address: services.addressOf(request),
          requestId: request.id,
        });
        reply.header('cache-control', 'no-store');
        return { access_token: token, token_type: 'Bearer' as const, expires_in: expiresInSeconds };
      },
    );
  });
}

function missing(field: string): AppError {
  return new AppError('bad_request', `${field} is required`, {
    details: { validationErrors: [{ field, message: 'is required' }] },
  });
}
