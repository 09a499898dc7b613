import { type Static, type TSchema, Type } from 'typebox';
import { AppError } from '../../errors.ts';

const SIZE_MAX = 100_000;
const positive = (description: string) =>
  Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,8}$', description }));

/** `page` and `size` of every list. */
export const pageQuery = {
  page: positive('From 1; default 1'),
  size: positive('Entries a page, up to 100,000; without it all'),
};

/** The query of a list kept in memory. */
export const listQuery = Type.Object(
  {
    ...pageQuery,
    sort: Type.Optional(
      Type.String({ pattern: '^[A-Za-z]{1,40}(,(asc|desc))?$', description: '`name,asc`' }),
    ),
    q: Type.Optional(Type.String({ maxLength: 255, description: 'Part of the name or description' })),
  },
  { additionalProperties: false },
);

/** Numbers of `page` and `size`; throws bad_request for a page beyond bounds. */
export function pageOf(query: { page?: string; size?: string }): { page: number; size: number } {
  const size = query.size === undefined ? SIZE_MAX : Number(query.size);
  if (size > SIZE_MAX) {
    throw new AppError('bad_request', `size must be at most ${SIZE_MAX}`, {
      details: { validationErrors: [{ field: 'size', message: `must be at most ${SIZE_MAX}` }] },
    });
  }
  return { page: query.page === undefined ? 1 : Number(query.page), size };
}

/**
 * Filters, sorts and cuts a list; `q` looks without regard to case in `searched`, which also names
 * the default order. Sorting by a field that an entry does not have is bad_request.
 */
export function listed<T extends object>(
  items: readonly T[],
  query: Static<typeof listQuery>,
  options: { searched: readonly (keyof T & string)[]; sortable: readonly (keyof T & string)[] },
): { success: true; resultList: T[]; resultCount: number } {
  const { page, size } = pageOf(query);
  const [field = options.searched[0]!, direction] = (query.sort?.split(',') ?? []) as [
    keyof T & string,
    string?,
  ];
  if (!options.sortable.includes(field)) {
    const message = `must be one of ${options.sortable.join(', ')}`;
    throw new AppError('bad_request', `sort ${message}`, {
      details: { validationErrors: [{ field: 'sort', message }] },
    });
  }
  const wanted = query.q?.toLowerCase();
  const found = wanted
    ? items.filter((item) =>
        options.searched.some((name) => textOf(item[name]).toLowerCase().includes(wanted)),
      )
    : [...items];
  const sign = direction === 'desc' ? -1 : 1;
  found.sort((a, b) => sign * compare(a[field], b[field]));
  return {
    success: true,
    resultList: found.slice((page - 1) * size, page * size),
    resultCount: found.length,
  };
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  const [left, right] = [textOf(a), textOf(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function textOf(value: unknown): string {
  return value === null || value === undefined ? '' : String(value);
}

/** A list of one, as Get answers. */
export function single<T>(item: T): { success: true; resultList: T[]; resultCount: number } {
  return { success: true, resultList: [item], resultCount: 1 };
}

/** The answer's schema of a list of such items. */
export function listOf<T extends TSchema>(item: T) {
  return Type.Object({
    success: Type.Literal(true),
    resultList: Type.Array(item),
    resultCount: Type.Integer({ description: 'All there are, not only this page' }),
  });
}

export const successAnswer = Type.Object({ success: Type.Literal(true) });

/** Throws bad_request when the body names another than the path. */
export function requireSameName(field: string, inPath: string, inBody: string | undefined): void {
  if (inBody === undefined || inBody === inPath) return;
  const message = 'must be the name in the path; it cannot be changed';
  throw new AppError('bad_request', `${field} ${message}`, {
    details: { validationErrors: [{ field, message }] },
  });
}
