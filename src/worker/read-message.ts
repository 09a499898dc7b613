import type { ToWorker } from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isTimeout: Check = (value) => typeof value === 'number' && value > 0 && value < 2 ** 31;
const isRecord: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isAnything: Check = () => true;
const isTrue: Check = (value) => value === true;
const isNullOrCount: Check = (value) => value === null || isCount(value);
const isListOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const hasFields =
  (fields: Record<string, Check>): Check =>
  (value) =>
    isRecord(value) &&
    Object.entries(fields).every(([name, check]) => check((value as Record<string, unknown>)[name]));

const isRecordOf =
  (check: Check): Check =>
  (value) =>
    isRecord(value) && Object.values(value as object).every(check);
const isObjects = hasFields({
  keystores: isRecordOf(hasFields({ type: isText, file: isText, password: isText, alias: maybe(isText) })),
  certificates: isRecordOf(isText),
});
const isHostKeys = isListOf(hasFields({ server: isText, algorithm: isText, fingerprint: isText }));
const isRevision = hasFields({ revision: isCount, config: isRecord, objects: maybe(isObjects) });
const isDesired = hasFields({
  connection: isText,
  project: isText,
  name: isText,
  type: isText,
  revision: isCount,
  config: isRecord,
  objects: maybe(isObjects),
  hostKeys: maybe(isHostKeys),
  lastGood: maybe(isRevision),
});
const isGrant = hasFields({
  project: isText,
  connections: maybe(isListOf(isText)),
  operations: maybe(isListOf(isText)),
});

const checks: Record<ToWorker['kind'], Check> = {
  welcome: hasFields({ protocol: isCount, epoch: isText, environment: isText, worker: isText }),
  snapshot: hasFields({ epoch: isText, seq: isCount, items: isListOf(isDesired), more: maybe(isTrue) }),
  delta: hasFields({ seq: isCount, put: isListOf(isDesired), remove: isListOf(isText) }),
  prove: hasFields({ items: isListOf(hasFields({ connection: isText, revision: isCount })) }),
  hold: hasFields({ connection: isText, revision: isCount, forMs: isCount }),
  tokens: hasFields({
    tokens: isListOf(
      hasFields({ hash: isText, expiresAt: isNullOrCount, actor: isText, grants: isListOf(isGrant) }),
    ),
  }),
  test: hasFields({
    request: isText,
    project: isText,
    name: isText,
    type: isText,
    config: isRecord,
    objects: maybe(isObjects),
    connection: maybe(isText),
    hostKeys: maybe(isHostKeys),
    timeoutMs: isTimeout,
  }),
  operate: hasFields({
    request: isText,
    connection: isText,
    operation: isText,
    input: isAnything,
    timeoutMs: isTimeout,
  }),
  cancel: hasFields({ request: isText }),
};

/** Reads a frame; undefined for a kind that a newer control plane may know. Throws on what is malformed. */
export function readMessage(text: string): ToWorker | undefined {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch (cause) {
    // The parser's own message quotes the frame, which may hold secrets.
    throw malformed('a frame is not JSON', cause);
  }
  const kind = isRecord(message) ? (message as { kind?: unknown }).kind : undefined;
  if (typeof kind !== 'string') throw malformed('a frame has no kind');
  if (!Object.hasOwn(checks, kind)) return undefined;
  if (!checks[kind as ToWorker['kind']](message)) throw malformed(`a frame of kind ${kind} is malformed`);
  return message as ToWorker;
}

function malformed(what: string, cause?: unknown): AppError {
  return new AppError('protocol_error', what, { cause });
}
