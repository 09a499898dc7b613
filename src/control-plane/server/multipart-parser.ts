import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AppError } from '../../errors.ts';

const maxParts = 50;

/**
 * Reads multipart/form-data (RFC 7578) on routes that say so, into an object of texts, or lists of them
 * for a name given several times; a file is its text. The whole body is bounded by the route's limit.
 */
export function registerMultipartParser(app: FastifyInstance): void {
  const parse = async (request: FastifyRequest, body: Buffer) => {
    if (request.routeOptions.config.body !== 'multipart')
      throw new AppError('unsupported_media_type', 'The body must be application/json');
    let form: FormData;
    try {
      const headers = { 'content-type': request.headers['content-type'] ?? '' };
      form = await new Response(new Uint8Array(body), { headers }).formData();
    } catch (error) {
      throw new AppError('bad_request', 'The body is not valid multipart/form-data', { cause: error });
    }
    const names = [...new Set(form.keys())];
    if ([...form.keys()].length > maxParts)
      throw new AppError('bad_request', `The form has more than ${maxParts} parts`);
    const fields: [string, string | string[]][] = [];
    for (const name of names) {
      const values = await Promise.all(
        form.getAll(name).map((value) => (typeof value === 'string' ? value : value.text())),
      );
      fields.push([name, values.length === 1 ? values[0]! : values]);
    }
    return Object.fromEntries(fields);
  };
  app.addContentTypeParser('multipart/form-data', { parseAs: 'buffer' }, parse);
}
