import {
  MongoAPIError,
  MongoBulkWriteError,
  MongoClientClosedError,
  MongoCompatibilityError,
  MongoInvalidArgumentError,
  MongoNetworkError,
  MongoNetworkTimeoutError,
  MongoNotConnectedError,
  MongoOperationTimeoutError,
  MongoParseError,
  MongoServerError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
  MongoUnexpectedServerResponseError,
  type TopologyDescription,
} from 'mongodb';
import { AppError, type ErrorCode } from '../../errors.ts';
import { classifySocketError } from '../transport/socket-errors.ts';
import { classifyTlsError } from '../transport/tls-errors.ts';

const codes: Readonly<Record<number, readonly [ErrorCode, hint?: string]>> = {
  6: ['connection_lost'],
  7: ['connection_lost'],
  11: ['authentication_failed'],
  13: ['permission_denied', 'grant the account a role on this database that allows it'],
  18: [
    'authentication_failed',
    'check user name and password, and the database that holds the account: authSource in jdbcUrl',
  ],
  50: ['target_timeout'],
  89: ['connection_lost'],
  91: ['target_busy', 'the server is shutting down'],
  189: ['target_busy', 'the primary stepped down'],
  262: ['target_timeout'],
  8000: ['authentication_failed'],
  9001: ['connection_lost'],
  10107: ['target_busy', 'the server is not the primary (any more)'],
  10334: ['message_too_large'],
  11600: ['target_busy', 'the server is shutting down'],
  11601: ['target_timeout', 'the operation was interrupted on the server'],
  11602: ['target_busy', 'the primary stepped down'],
  13435: ['target_busy', 'the server is not the primary'],
  13436: ['target_busy', 'the server is recovering'],
  14031: ['quota_exceeded', "the server's disk is full"],
  16500: ['target_busy'],
};

/** An error of the server or its driver as ours; `dialFailure` tells why an address could not be dialled. */
export function classifyMongoError(
  error: unknown,
  dialFailure: (address: string) => AppError | undefined = () => undefined,
): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof MongoServerSelectionError)
    return (
      failureOfAll(error.reason as TopologyDescription | undefined, dialFailure) ??
      new AppError('target_timeout', 'no server of the deployment could be used in time', { cause: error })
    );
  if (error instanceof MongoServerError) {
    const [code, hint] = codes[Number(error.code)] ?? ['request_rejected'];
    // In order, and ended by the first that failed.
    const [failed] = error instanceof MongoBulkWriteError ? [error.writeErrors].flat() : [];
    const written = failed ? `; ${failed.index} were inserted` : '';
    return new AppError(code, `${error.message} (code ${error.code ?? 'unknown'}${written})`, {
      cause: error,
      ...(hint ? { details: { hint } } : {}),
    });
  }
  if (error instanceof MongoNetworkTimeoutError || error instanceof MongoOperationTimeoutError)
    return new AppError('target_timeout', undefined, { cause: error });
  // The driver wraps what is no BSON into an error of the network.
  if (error instanceof MongoParseError || isBsonError(error))
    return new AppError('protocol_error', 'what answers there is not MongoDB', { cause: error });
  if (error instanceof MongoNetworkError) {
    const { cause } = error;
    return (
      classifyTlsError(cause) ??
      (cause instanceof MongoParseError || isBsonError(cause) ? classifyMongoError(cause) : undefined) ??
      classifySocketError(cause) ??
      new AppError('connection_lost', undefined, { cause: error })
    );
  }
  if (error instanceof MongoCompatibilityError || error instanceof MongoUnexpectedServerResponseError)
    return new AppError('protocol_error', error.message, { cause: error });
  if (
    error instanceof MongoTopologyClosedError ||
    error instanceof MongoClientClosedError ||
    error instanceof MongoNotConnectedError
  )
    return new AppError('cancelled', 'the connection was closed', { cause: error });
  if (error instanceof MongoInvalidArgumentError || error instanceof MongoAPIError)
    return new AppError('request_rejected', error.message, { cause: error });
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  if (typeof syscall === 'string' && /^query/.test(syscall))
    return new AppError('name_not_resolved', `its SRV record could not be resolved (${code})`, {
      cause: error,
    });
  return classifySocketError(error) ?? new AppError('protocol_error', undefined, { cause: error });
}

/** Why none of the servers can be used; undefined while one may still be. */
export function failureOfAll(
  topology: TopologyDescription | undefined,
  dialFailure: (address: string) => AppError | undefined,
): AppError | undefined {
  const servers = [...(topology?.servers.values() ?? [])];
  const failed = servers.filter(({ type, error }) => type === 'Unknown' && error);
  if (servers.length === 0 || failed.length < servers.length) return undefined;
  const failures = failed.map(({ address, error }) => ({
    address,
    failure: dialFailure(address) ?? classifyMongoError(error),
  }));
  const [{ failure }] = failures as [{ address: string; failure: AppError }];
  if (failures.length === 1) return failure;
  return new AppError(
    failure.code,
    failures.map(({ address, failure: { message } }) => `${address}: ${message}`).join('; '),
    { cause: failure },
  );
}

function isBsonError(error: unknown): boolean {
  return error instanceof Error && /^BSON/.test(error.name);
}
