import type { FastifyInstance } from 'fastify';
import { AppError } from '../../errors.ts';

const FORM_MAX_BYTES = 16 * 1024;

/** Reads application/x-www-form-urlencoded into an object of texts; a field given twice is bad_request. */
export function registerFormParser(app: FastifyInstance): void {
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit: FORM_MAX_BYTES },
    (request, body, done) => {
      if (request.routeOptions.config.body !== 'form') {
        done(new AppError('unsupported_media_type', 'The body must be application/json'));
        return;
      }
      const fields = new Map<string, string>();
      for (const [name, value] of new URLSearchParams(body as string)) {
        if (fields.has(name)) {
          done(new AppError('bad_request', 'A form field is given twice'));
          return;
        }
        fields.set(name, value);
      }
      done(null, Object.fromEntries(fields));
    },
  );
}
