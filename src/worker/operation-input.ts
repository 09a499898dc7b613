import { _, Ajv2020, type Code, type ErrorObject, type KeywordCxt, str } from 'ajv/dist/2020.js';
import type { OperationSchema } from '../contract/connection-type.ts';
import type { JsonSchema } from '../contract/definition-schema.ts';
import { expectation, unknownField } from '../contract/fault-words.ts';
import { formatFieldPath } from '../contract/field-path.ts';
import { formats } from '../contract/formats.ts';
import { AppError, type FieldFault } from '../errors.ts';

const maxFaults = 100;

let ajv: Ajv2020 | undefined;
const checks = new WeakMap<OperationSchema, (input: unknown) => void>();

/**
 * A check of an operation's inputs against its schema, which fills defaults in; it throws `bad_request`
 * with every fault, or `payload_too_large`.
 */
export function inputCheck(operation: OperationSchema): (input: unknown) => void {
  let check = checks.get(operation);
  if (!check) {
    check = createCheck(operation);
    checks.set(operation, check);
  }
  return check;
}

function createCheck({ input: schema, maxInputBytes }: OperationSchema): (input: unknown) => void {
  ajv ??= createAjv();
  const validate = ajv.compile(schema);
  return (input) => {
    if (maxInputBytes !== undefined && Buffer.byteLength(JSON.stringify(input ?? null)) > maxInputBytes)
      throw new AppError('payload_too_large', `The input is larger than ${maxInputBytes} bytes`);
    if (validate(input)) return;
    const validationErrors = faultsOf(validate.errors ?? [], input);
    const text = validationErrors
      .map(({ field, message }) => (field ? `${field} ${message}` : message))
      .join('; ');
    throw new AppError('bad_request', `The input of the operation is not valid: ${text.slice(0, 2000)}`, {
      details: { validationErrors },
    });
  };
}

function createAjv(): Ajv2020 {
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    coerceTypes: false,
    removeAdditional: false,
    useDefaults: true,
    strict: false,
    formats: Object.fromEntries(Object.entries(formats).map(([name, { validate }]) => [name, validate])),
  });
  // Ajv's own count the characters of every text; there are at most as many as UTF-16 units, and at least half.
  defineLength(ajv, 'maxLength', {
    fewerOrMore: 'more',
    fails: (length, limit, count) => _`${length} > ${limit} && ${count} > ${limit}`,
  });
  defineLength(ajv, 'minLength', {
    fewerOrMore: 'fewer',
    fails: (length, limit, count) => _`${length} < ${limit} * 2 && ${count} < ${limit}`,
  });
  return ajv;
}

function defineLength(
  ajv: Ajv2020,
  keyword: string,
  {
    fewerOrMore,
    fails,
  }: { fewerOrMore: string; fails(length: Code, limit: KeywordCxt['schemaCode'], count: Code): Code },
): void {
  ajv.removeKeyword(keyword);
  ajv.addKeyword({
    keyword,
    type: 'string',
    schemaType: 'number',
    error: {
      message: ({ schemaCode }) => str`must NOT have ${fewerOrMore} than ${schemaCode} characters`,
      params: ({ schemaCode }) => _`{limit: ${schemaCode}}`,
    },
    code(context: KeywordCxt) {
      const { data, schemaCode, gen } = context;
      const count = gen.scopeValue('func', { ref: codePointsOf });
      context.fail(fails(_`${data}.length`, schemaCode, _`${count}(${data})`));
    },
  });
}

function codePointsOf(text: string): number {
  let count = 0;
  for (const _character of text) count += 1;
  return count;
}

function faultsOf(errors: readonly ErrorObject[], input: unknown): FieldFault[] {
  const faults = new Map<string, FieldFault>();
  for (const error of errors) {
    if (error.keyword === 'if') continue;
    const fault = faultOf(error, input);
    faults.set(`${fault.field} ${fault.message}`, fault);
    if (faults.size === maxFaults) break;
  }
  return [...faults.values()];
}

function faultOf(error: ErrorObject, input: unknown): FieldFault {
  const { keyword, params, instancePath } = error;
  const steps: (string | number)[] = [];
  let holder = input;
  for (const step of instancePath.split('/').slice(1)) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~');
    steps.push(Array.isArray(holder) ? Number(name) : name);
    holder = (holder as Record<string, unknown> | null | undefined)?.[name];
  }
  if (keyword === 'required') steps.push(params['missingProperty']);
  if (keyword === 'additionalProperties') steps.push(params['additionalProperty']);
  const field = formatFieldPath(steps) || 'input';
  if (keyword === 'required') return { field, message: 'is required' };
  const schema = error.parentSchema as JsonSchema;
  if (keyword === 'additionalProperties')
    return {
      field,
      message: unknownField(params['additionalProperty'], Object.keys(schema.properties ?? {})),
    };
  return { field, message: expectation(schema, error) };
}
