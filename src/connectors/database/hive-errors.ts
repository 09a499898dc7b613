import { AppError, type ErrorCode } from '../../errors.ts';

/** What HiveServer2 or Impala says of a failure. */
export interface HiveFault {
  sqlState: string;
  errorCode: number;
  message: string;
}

const byMessage: readonly (readonly [RegExp, ErrorCode])[] = [
  [
    /HiveAccessControlException|AuthorizationException|Permission denied|does not have privileges/i,
    'permission_denied',
  ],
  [
    /Connection limit|too many (open )?sessions|queue (is )?full|Admission for query|Memory limit exceeded/i,
    'target_busy',
  ],
  [/lock.*(could not be acquired|timed out)|Unable to acquire (IMPLICIT|EXPLICIT)/i, 'target_busy'],
  [/ParseException|SemanticException|AnalysisException|FAILED: (Parse|Semantic)/i, 'request_rejected'],
  [/quota.*exceeded|No space left/i, 'quota_exceeded'],
];

/** A failure as an error of ours; the text quotes the server's first line. */
export function hiveError({ sqlState, errorCode, message }: HiveFault): AppError {
  const [line = ''] = message.split('\n');
  const text = line.length > 500 ? `${line.slice(0, 500)}…` : line;
  const known = byMessage.find(([pattern]) => pattern.test(message))?.[1];
  const code = known ?? (/^(42|22|23|0A|HYC)/.test(sqlState) ? 'request_rejected' : 'target_error');
  return new AppError(code, `${text || 'it failed'} (SQLSTATE ${sqlState || 'unknown'}, error ${errorCode})`);
}
