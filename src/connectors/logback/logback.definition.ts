import { Type } from 'typebox';
import {
  type ConfigOf,
  defineConnectionType,
  defineOperation,
  integer,
  text,
} from '../../contract/connection-type.ts';
import { oneOrMany } from '../../contract/one-or-many.ts';
import { hasVariable } from '../../contract/reference-syntax.ts';

export const logLevels = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR'] as const;

const loggerName = 'plugboard';

export const logback = defineConnectionType({
  type: 'logback',
  title: 'Rolling log files (Logback)',
  summary: 'Writes log lines to rolling files on the worker, as Logback does.',
  fields: {
    logPath: text({
      title: 'Directory',
      description:
        'Directory on the worker; made when it is not there. A missing trailing / is added. It must lie inside a directory that the operator of the worker allows, after links are resolved; else that deployment fails.',
      group: 'target',
      minLength: 1,
      maxLength: 4096,
      destination: 'address',
      examples: ['/var/log/plugboard/', '/var/log/gateway/'],
    }),
    logFileName: text({
      title: 'File name',
      description: 'First part of the name of every file; a leading / is removed.',
      group: 'target',
      default: 'ApinizerApiProxyTraffic',
      minLength: 1,
      maxLength: 255,
    }),
    logPodName: text({
      title: 'Pod name',
      description:
        "Second part of the name of every file; empty: the host name of the worker, which keeps workers on a shared directory from writing into each other's files.",
      group: 'target',
      default: '',
      maxLength: 255,
      pattern: '^[^/\\\\\\s]*$',
      patternHelp: 'must not contain slashes or spaces',
    }),
    logFilenamePattern: text({
      title: 'File name pattern',
      description:
        'Last part of the name of every file, after a hyphen. Needs %d, the date, which also says when files roll (%d{yyyy-MM-dd} daily, %d{yyyy-MM-dd_HH} hourly), and %i, the number within that period.',
      group: 'target',
      default: '%d{yyyy-MM-dd}.%i.log',
      maxLength: 512,
      pattern: '^(?=.*%d)(?=.*%[0-9]*i).*$',
      patternHelp: 'must contain %d (the date) and %i (the number of the file)',
    }),
    logPattern: text({
      title: 'Line pattern',
      description:
        'Layout of a line, as in Logback: %d{format} %m %msg %message %n %level %p %le %logger{n} %c %lo %thread %t %X{key} %mdc %ex %replace(…){class of characters, text}, with widths and justification such as %-5level; %% is a percent sign. End it with %n, or lines run together.',
      group: 'delivery',
      default: '%d{yyyy-MM-dd HH:mm:ss.SSS}[%m]%n',
      minLength: 1,
      maxLength: 4096,
    }),
    maxFileSize: integer({
      title: 'Largest file',
      description: 'Size at which the next file of the same period is begun; reached lines are not cut.',
      group: 'limits',
      unit: 'MB',
      default: 25,
      minimum: 1,
      maximum: 1_000_000,
    }),
    maxHistory: integer({
      title: 'History',
      description:
        "How many periods of the file name pattern's date are kept (days for %d{yyyy-MM-dd}); older files are deleted. 0: all are kept.",
      group: 'limits',
      unit: 'periods',
      default: 0,
      minimum: 0,
      maximum: 1_000_000,
    }),
    totalSizeCap: integer({
      title: 'Size of all files',
      description:
        'Size of all files together above which the oldest are deleted. 0: unbounded, the disk may fill.',
      group: 'limits',
      unit: 'GB',
      default: 0,
      minimum: 0,
      maximum: 1_000_000,
    }),
  },
  normalise(body) {
    const path = body['logPath'];
    if (typeof path === 'string' && path !== '' && !path.endsWith('/')) body['logPath'] = `${path}/`;
    const file = body['logFileName'];
    if (typeof file === 'string') body['logFileName'] = file.replace(/^\/+/, '');
  },
  refine(config, fault) {
    // Only one %d may say when to roll; the others are marked as auxiliary (Logback: "%d{…, aux}").
    const dates = config.logFilenamePattern.match(/%d(?:\{[^}]*\})?/g) ?? [];
    const rolling = dates.filter((date) => !/,\s*aux\s*\}$/i.test(date));
    if (rolling.length !== 1 && !hasVariable(config.logFilenamePattern))
      fault(
        'logFilenamePattern',
        'must contain exactly one %d that says when files roll; mark others as auxiliary: %d{yyyy-MM, aux}',
      );
    for (const name of ['logFileName', 'logFilenamePattern', 'logPath'] as const)
      if (config[name].split('/').includes('..')) fault(name, 'must not climb out of its directory with ..');
  },
  remarks(config) {
    const remarks: string[] = [];
    if (config.maxHistory === 0 && config.totalSizeCap === 0)
      remarks.push('maxHistory, totalSizeCap: are both 0, so files are never deleted and the disk may fill');
    if (!hasVariable(config.logPattern) && !/%n|%ex|%throwable|%xEx/.test(config.logPattern))
      remarks.push('logPattern: has no %n, so lines run together');
    return remarks;
  },
  notes: [
    "A message is written as it is, line breaks included, as Logback does: what a caller says can look like a line of its own. Where each event has to stay one line, put all that callers say into %replace: `%d %replace(%level %logger %msg %ex){'[\\r\\n]+', ' '}%n`. A stack trace stands behind every line whose pattern has neither %ex nor %nopex.",
    'Files lie on the worker, not on the control plane: with several workers each has its own.',
    'The operator of a worker allows directories with PLUGBOARD_WORKER_LOG_ROOTS; none is allowed by default.',
  ],
  operations: {
    log: defineOperation({
      title: 'Log',
      description:
        'Writes one line, or several as messages, in order and in one piece; line breaks of a message are written as they are, unless logPattern replaces them. Answers when the system has taken them.',
      stream: { items: 'messages' },
      input: oneOrMany(
        {
          message: Type.String({ maxLength: 16_777_216 }),
          level: Type.Optional(
            Type.Union(
              logLevels.map((level) => Type.Literal(level)),
              { description: 'default INFO' },
            ),
          ),
          logger: Type.Optional(Type.String({ maxLength: 1024, description: `default ${loggerName}` })),
          thread: Type.Optional(Type.String({ maxLength: 1024, description: 'default main' })),
          mdc: Type.Optional(
            Type.Record(Type.String({ maxLength: 255 }), Type.String({ maxLength: 65_536 }), {
              description: 'values for %X{key}',
            }),
          ),
          exception: Type.Optional(
            Type.String({ maxLength: 1_048_576, description: 'stack trace as text, for %ex' }),
          ),
          timestampMs: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: 253_402_300_799_999,
              description: 'time of the event for %d, ms since 1970; default: now',
            }),
          ),
        },
        { identifying: 'message', maxItems: 100_000 },
      ),
      output: Type.Object({
        written: Type.Integer({ description: 'messages written; all or none' }),
        file: Type.String({ description: 'file that holds the last of them' }),
      }),
    }),
  },
});

/** Pattern of the files' full names, `{logPath}{logFileName}-{logPodName}-{logFilenamePattern}`. */
export function filePattern(
  config: Pick<ConfigOf<typeof logback>, 'logPath' | 'logFileName' | 'logPodName' | 'logFilenamePattern'>,
  hostName: string,
): string {
  return `${config.logPath}${config.logFileName}-${config.logPodName || hostName}-${config.logFilenamePattern}`;
}
