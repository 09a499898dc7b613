interface ErrorEntry {
  /** HTTP status of the answer. */
  readonly status: number;
  /** Value of `error` in the answer's body, where it differs from the code. */
  readonly error?: string;
  /** Whether the same request can succeed later without a change. */
  readonly retryable: boolean;
  readonly message: string;
}

/**
 * Every error there is. A code whose `error` differs is a finer reason of that published error
 * and is sent beside it as `reason`.
 */
export const ERRORS = {
  bad_request: { status: 400, retryable: false, message: 'The request is not valid' },
  unsupported_grant_type: {
    status: 400,
    retryable: false,
    message: 'Only grant_type=client_credentials is supported',
  },
  unauthorized_client: { status: 401, retryable: false, message: 'Invalid token' },
  forbidden: { status: 403, retryable: false, message: 'The token lacks a permission' },
  egress_denied: {
    status: 403,
    retryable: false,
    message: "The worker's egress policy forbids this address",
  },
  not_found: { status: 404, retryable: false, message: 'Not found' },
  method_not_allowed: { status: 405, retryable: false, message: 'Method not allowed here' },
  not_active: { status: 409, retryable: false, message: 'The connection is not active' },
  conflict: { status: 409, retryable: false, message: 'Something still refers to this' },
  precondition_failed: {
    status: 412,
    retryable: false,
    message: 'It was changed by somebody else since it was read',
  },
  payload_too_large: { status: 413, retryable: false, message: 'The body is too large' },
  unsupported_media_type: {
    status: 415,
    retryable: false,
    message: 'The content type is not supported',
  },
  unprocessable: {
    status: 422,
    retryable: false,
    message: 'The Idempotency-Key was used with another body',
  },
  rate_limit_exceeded: { status: 429, retryable: true, message: 'Too many requests' },
  circuit_open: {
    status: 429,
    retryable: true,
    message: 'The circuit breaker is open after repeated failures',
  },
  internal_error: { status: 500, retryable: false, message: 'Internal error' },
  target_error: { status: 502, retryable: false, message: 'The target refused or failed' },
  no_worker: {
    status: 503,
    retryable: true,
    message: 'No worker of the environment is connected',
  },
  unavailable: { status: 503, retryable: true, message: 'Temporarily not available' },
  target_timeout: {
    status: 504,
    retryable: true,
    message: 'The target did not answer in time',
  },

  name_not_resolved: target(true, 'The host name could not be resolved'),
  connection_refused: target(true, 'The target refused the TCP connection'),
  host_unreachable: target(true, 'The target host cannot be reached'),
  connection_lost: target(true, 'The connection was closed by the target'),
  connect_timeout: timeout('The target did not accept the connection in time'),
  tls_not_offered: target(false, 'The target does not offer TLS here'),
  tls_failed: target(false, 'The TLS handshake failed'),
  certificate_untrusted: target(false, "The target's certificate is not trusted"),
  certificate_expired: target(false, "The target's certificate has expired or is not valid yet"),
  certificate_wrong_host: target(false, "The target's certificate is for another host name"),
  host_key_mismatch: target(false, "The target's host key is not the expected one"),
  authentication_failed: target(false, 'The target refused the credentials'),
  permission_denied: target(false, 'The target denies this account the request'),
  protocol_error: target(false, 'The target does not speak the expected protocol'),
  request_rejected: target(false, 'The target rejected the request'),
  message_too_large: target(false, 'The message is larger than the target accepts'),
  quota_exceeded: target(true, 'The target has no room or quota left'),
  unroutable: target(false, 'The target could not route the message'),
  target_busy: target(true, 'The target is temporarily not able to serve the request'),

  invalid_configuration: {
    status: 502,
    error: 'target_error',
    retryable: false,
    message: 'A value of the connection cannot be used',
  },
  missing_reference: {
    status: 502,
    error: 'target_error',
    retryable: false,
    message: 'Something the connection refers to does not exist',
  },
  driver_missing: {
    status: 502,
    error: 'target_error',
    retryable: false,
    message: 'The driver of this type is not installed on the worker',
  },
  outcome_unknown: {
    status: 503,
    error: 'unavailable',
    retryable: false,
    message:
      'The database was lost before it said whether it stored the change; see what is there before trying again',
  },
  buffer_full: {
    status: 503,
    error: 'unavailable',
    retryable: true,
    message: "The connection's buffer is full",
  },
  cancelled: {
    status: 503,
    error: 'unavailable',
    retryable: true,
    message: 'The request was cancelled',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

function target(retryable: boolean, message: string) {
  return { status: 502, error: 'target_error', retryable, message } as const;
}

function timeout(message: string) {
  return { status: 504, error: 'target_timeout', retryable: true, message } as const;
}

export interface FieldFault {
  /** Path such as `elasticHostList[0].port`. */
  field: string;
  message: string;
}

export interface ErrorDetails {
  validationErrors?: FieldFault[];
  stage?: string;
  /** Seconds after which a retry makes sense. */
  retryAfter?: number;
  /** What would probably fix it. */
  hint?: string;
}

/** The one error type: a code of the table, a message fit for the client, and the cause for the log. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message?: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(message ?? ERRORS[code].message, { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get entry(): ErrorEntry {
    return ERRORS[this.code];
  }

  get retryable(): boolean {
    return this.entry.retryable;
  }
}

/** The error's body as every interface of ours sends it. */
export function errorBody(error: AppError, requestId?: string): Record<string, unknown> {
  const { entry, code, details } = error;
  const published = entry.error ?? code;
  const isTarget = entry.status >= 500 && code !== 'internal_error' && code !== 'unavailable';
  return {
    error: published,
    error_description: error.message,
    ...(published === code ? {} : { reason: code }),
    ...(details.validationErrors ? { validation_errors: details.validationErrors } : {}),
    ...(isTarget || details.stage ? { retryable: entry.retryable } : {}),
    ...(details.stage ? { stage: details.stage } : {}),
    ...(details.hint ? { hint: details.hint } : {}),
    ...(details.retryAfter === undefined ? {} : { retry_after: details.retryAfter }),
    ...(requestId ? { request_id: requestId } : {}),
  };
}
