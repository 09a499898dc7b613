import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { seededRandom } from '../../../test/harness/seeded-random.ts';
import { base64, type Instruction, logback, runLogback } from '../../../test/services/logback.ts';
import { noteServer } from '../../../test/services/proof.ts';
import { privateDirectory, startOrSkip } from '../../../test/services/service.ts';
import { Zone } from './date-pattern.ts';
import { FileNamePattern } from './file-name-pattern.ts';
import { logLevels } from './logback.definition.ts';
import { compileLayout, type LogEvent, wellFormedLine } from './pattern-layout.ts';
import { RollingFile } from './rolling-file.ts';

const timeZone = 'Europe/Istanbul';

interface LayoutCase {
  pattern: string;
  event: LogEvent;
  throws: boolean;
}

const datePatterns = [
  '',
  '{ISO8601}',
  '{STRICT}',
  '{yyyy-MM-dd HH:mm:ss.SSS}',
  '{"HH:mm:ss,SSS"}',
  "{yyyy-MM-dd'T'HH:mm:ssXXX, Europe/Berlin}",
  '{yyyy-MM-dd HH:mm:ss.SSSSSS, UTC}',
  '{dd MMM yyyy hh:mm a}',
  '{EEE\\, d MMMM yy}',
  '{"EEE, d MMM yyyy HH:mm:ss Z", America/New_York}',
  '{EEEE D k K h H m s S, Asia/Kolkata}',
  '{yyyy u y G Q QQQ LLL MMMMM EEEEE}',
  '{yyyyMMdd xx X x xxx Z ZZZZ ZZZZZ O OOOO, Asia/Kathmandu}',
  '{yyyyMMdd xx X x xxx Z ZZZZ ZZZZZ O OOOO VV}',
  '{A n N SSSSSSSSS, Australia/Lord_Howe}',
  "{''yyyy''MM'o''clock' [HH]:mm}",
  '{yyyy-MM-dd, UTC, en-GB}',
  '{bad pattern}',
  '{yyyyyy-MM-dd}',
  '{HHH}',
  '{}',
];
const words = [
  ...datePatterns.flatMap((options) => [`%d${options}`]),
  '%date{HH:mm}',
  '%m',
  '%msg',
  '%message',
  '%level',
  '%p',
  '%le',
  '%t',
  '%thread',
  '%c',
  '%lo',
  '%logger',
  ...[0, 1, 5, 10, 15, 20, 26, 36, 40, -3, 'x'].flatMap((length) => [`%logger{${length}}`, `%c{${length}}`]),
  '%X',
  '%X{key}',
  '%mdc{key:-none}',
  '%X{other:-}',
  '%X{other:-a:-b}',
  '%cn',
  '%n',
  '%ex',
  '%ex{short}',
  '%ex{2}',
  '%ex{0}',
  '%ex{full, Outer.fail}',
  '%exception{full}',
  '%throwable{2, Outer.fail}',
  '%nopex',
  '%unknown',
  '%highlight(%level)',
  '%boldRed(%m)',
  '%gray(%d{HH} %c{1}){x}',
  "%replace(%m %ex){'[\\r\\n]+', ' '}",
  "%replace(%m){'[^a-z\\t]', '?'}",
  '%replace(%c){[.], /}',
];
const formats = [
  '',
  '5',
  '-5',
  '20',
  '-20',
  '.3',
  '.-3',
  '5.10',
  '-5.10',
  '20.-30',
  '-20.-30',
  '0',
  '.1',
  '05',
  '1000',
];
const literals = [
  ' ',
  '[',
  ']',
  ' - ',
  '\\(',
  '\\)',
  '\\%',
  '\\\\',
  '\\t',
  'a\\_b',
  '{',
  '}',
  'ş',
  '😀',
  ':',
  '"',
  "'",
];
const broken = [
  '%',
  '%5',
  '%-',
  '%5.',
  '%x.y',
  '%d{',
  '%d{"x}',
  '%(',
  '%(%m',
  'a)b%m',
  '\\q',
  'a\\',
  '%m\\',
  '%m)',
  '%(%m)%n',
  '%(%m) %n',
  '%-30(%d{HH:mm:ss} [%thread])|%m',
  '%.-10(%m %m)%n',
  '%10.15(%level %(%m) x)|',
  '%((a))b',
  '%red(%(%m))|',
  '%d{HH:mm, Nowhere/Land}',
  '%m%n%',
  '%mx',
  '%m_ %m1',
  '%m$',
  '%nopex %m',
  '%(%ex)',
  '%--5m',
  '%+5m|',
];
const messages = [
  'hello',
  '',
  'two\nlines',
  'a somewhat longer message with çöşğüı',
  '😀😀😀',
  '%d{x} \\n',
  'tab\t|',
];
const loggers = [
  'plugboard',
  'com.example.gateway.proxy.RequestLogger',
  'a.b.c',
  'com..Odd',
  '.x',
  'x.',
  'C',
];
const times = [
  0, 951_782_400_123, 1_466_978_399_999, 1_616_893_199_001, 1_635_640_200_000, 1_763_769_600_000,
  1_767_225_599_999, 4_102_444_800_000,
];

function corpus(): LayoutCase[] {
  const random = seededRandom(20261122);
  const { pick } = random;
  const event = (): LogEvent => ({
    message: pick(messages),
    level: pick(logLevels),
    logger: pick(loggers),
    thread: pick(['main', 'http-nio-8080-exec-12']),
    timestampMs: pick(times) + random.below(2) * random.below(86_400_000),
    ...(random.below(2) ? { mdc: { [pick(['key', 'other'])]: pick(['v', 'değer', '']) } } : {}),
  });
  const cases: LayoutCase[] = [];
  const add = (pattern: string) => cases.push({ pattern, event: event(), throws: random.below(4) === 0 });
  for (const word of words) for (const format of formats) add(`${word.replace('%', `%${format}`)}|`);
  for (const pattern of broken) for (let at = 0; at < 3; at++) add(pattern);
  for (const timestampMs of times)
    for (const options of datePatterns)
      cases.push({ pattern: `%d${options}`, event: { ...event(), timestampMs }, throws: false });
  for (let at = 0; at < 3000; at++) {
    let pattern = '';
    for (let part = random.below(8); part >= 0; part--) {
      const word = pick(words).replace('%', `%${pick(formats)}`);
      pattern += random.below(3) === 0 ? pick(literals) : word;
      if (random.below(8) === 0) pattern = `%${pick(formats)}(${pattern})`;
    }
    add(pattern);
  }
  return cases;
}

test('lines are those of Logback, byte for byte', async (t) => {
  const cases = corpus();
  const instruction = ({ pattern, event, throws }: LayoutCase): Instruction => {
    const [[key, value] = ['', '']] = Object.entries(event.mdc ?? {});
    return [
      'layout',
      base64(pattern),
      base64(event.message),
      event.level!,
      base64(event.logger!),
      base64(event.thread!),
      event.timestampMs,
      base64(key),
      base64(value),
      throws ? '1' : '0',
    ];
  };
  const fullTrace: LayoutCase = { pattern: '%ex', event: cases[0]!.event, throws: true };
  const answers = await startOrSkip(t, () =>
    runLogback([instruction(fullTrace), ...cases.map(instruction)], timeZone),
  );
  if (!answers) return;
  await noteServer(t.fullName, logback);
  assert.equal(answers.length, cases.length + 1);
  const exception = Buffer.from(answers.shift()!, 'base64').toString();
  assert.match(exception, /broken.*Caused by: .*common frames omitted/s);
  const zone = new Zone(timeZone);
  const differences: string[] = [];
  let refused = 0;
  for (const [at, { pattern, event, throws }] of cases.entries()) {
    let ours: string;
    try {
      ours = Buffer.from(
        wellFormedLine(compileLayout(pattern, zone)(throws ? { ...event, exception } : event)),
      ).toString('base64');
    } catch (error) {
      ours = '!';
      refused++;
      if (answers[at] !== '!') ours = `refused: ${(error as Error).message}`;
    }
    if (ours !== answers[at])
      differences.push(
        `${JSON.stringify(pattern)} ${JSON.stringify(event)}\n  Logback ${show(answers[at]!)}\n  ours    ${show(ours)}`,
      );
  }
  t.diagnostic(`${cases.length} lines compared, of which ${refused} patterns are refused by both`);
  assert.equal(differences.length, 0, `${differences.length} differ:\n${differences.slice(0, 8).join('\n')}`);
});

function show(answer: string): string {
  return answer === '!' || answer.startsWith('refused')
    ? answer
    : JSON.stringify(Buffer.from(answer, 'base64').toString());
}

interface RollingCase {
  title: string;
  pattern: string;
  maxFileBytes: number;
  maxHistory: number;
  totalBytes: number;
  /** Files that are there before. */
  present?: Record<string, string>;
  steps: { atMs: number; message: string }[];
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

function rollingCases(): RollingCase[] {
  const start = Date.UTC(2026, 9, 20, 20, 59, 58);
  const random = seededRandom(7);
  const steps = (count: number, everyMs: number, from = start) =>
    Array.from({ length: count }, (_, at) => ({
      atMs: from + at * everyMs + random.below(Math.max(1, everyMs / 3)),
      message: `line ${at} ${'x'.repeat(random.below(60))}`,
    }));
  const cases: RollingCase[] = [];
  const add = (title: string, each: Partial<RollingCase> & Pick<RollingCase, 'pattern' | 'steps'>) =>
    cases.push({ title, maxFileBytes: 200, maxHistory: 0, totalBytes: 0, ...each });
  add('daily by size', { pattern: 'app-%d.%i.log', steps: steps(60, hourMs) });
  add('hourly', { pattern: 'app-%d{yyyy-MM-dd_HH}.%i.log', steps: steps(60, hourMs / 3) });
  add('each minute, padded index', { pattern: 'app-%d{yyyyMMddHHmm}.%03i.log', steps: steps(50, 20_000) });
  add('each second', { pattern: '%d{yyyyMMddHHmmss}-%i', steps: steps(40, 400) });
  add('monthly', { pattern: '%d{yyyy-MM}.%i.log', steps: steps(50, 4 * dayMs), maxHistory: 2 });
  add('in another zone', { pattern: 'a-%d{yyyy-MM-dd, UTC}.%i.log', steps: steps(40, hourMs) });
  add('over the end of summer time', {
    pattern: 'a-%d{yyyy-MM-dd, Europe/Berlin}.%i.log',
    steps: steps(60, 3 * hourMs),
    maxHistory: 2,
  });
  add('hours over the end of summer time', {
    pattern: 'a-%d{yyyy-MM-dd_HH, America/New_York}.%i.log',
    steps: steps(60, hourMs / 2, Date.UTC(2026, 10, 1, 3)),
  });
  add('history of days', { pattern: 'a-%d.%i.log', steps: steps(80, 5 * hourMs), maxHistory: 3 });
  add('history of hours with gaps', {
    pattern: 'a-%d{yyyy-MM-dd_HH}.%i.log',
    steps: [
      ...steps(20, hourMs / 2),
      ...steps(20, hourMs, start + 2 * dayMs),
      ...steps(5, 3 * dayMs, start + 9 * dayMs),
    ],
    maxHistory: 4,
  });
  add('directories by date, removed when empty', {
    pattern: '%d{yyyy/MM, aux}/%d{dd}-%d{yyyy-MM-dd-HH, aux}/a.%i.log'.replace('%d{dd}', '%d{yyyyMMdd}'),
    steps: steps(60, 9 * hourMs),
    maxHistory: 5,
  });
  add('directories in the date', {
    pattern: '%d{yyyy/MM/dd}/a.%i.log',
    steps: steps(60, 9 * hourMs),
    maxHistory: 3,
  });
  add('cap of the size', {
    pattern: 'a-%d.%i.log',
    steps: steps(90, 3 * hourMs),
    maxHistory: 10,
    totalBytes: 900,
  });
  add('a cap without history is ignored', {
    pattern: 'a-%d.%i.log',
    steps: steps(60, 3 * hourMs),
    totalBytes: 500,
  });
  add('goes on with the highest index', {
    pattern: 'a-%d.%i.log',
    present: {
      'a-2026-10-20.0.log': 'old\n',
      'a-2026-10-20.11.log': `${'y'.repeat(190)}\n`,
      'a-2026-10-19.40.log': 'x',
      'b-2026-10-20.50.log': 'x',
    },
    steps: steps(12, 60_000, Date.UTC(2026, 9, 20, 12)),
  });
  add('old files of days before the start', {
    pattern: 'a-%d.%i.log',
    present: Object.fromEntries(
      Array.from({ length: 45 }, (_, at) => [
        `a-${new Date(start - at * dayMs).toISOString().slice(0, 10)}.0.log`,
        'old',
      ]),
    ),
    steps: steps(10, 6 * hourMs),
    maxHistory: 6,
  });
  add('compressed', { pattern: 'a-%d.%i.log.gz', steps: steps(60, 4 * hourMs), maxHistory: 3 });
  add('goes on beside compressed files', {
    pattern: 'a-%d.%i.log.gz',
    present: { 'a-2026-10-20.4.log.gz': 'not really' },
    steps: steps(12, 60_000, Date.UTC(2026, 9, 20, 12)),
  });
  add('a line longer than a file', {
    pattern: 'a-%d.%i.log',
    steps: [900, 10, 10, 10, 300, 10].map((length, at) => ({
      atMs: start + at,
      message: 'z'.repeat(length),
    })),
  });
  add('clock set back', {
    pattern: 'a-%d.%i.log',
    steps: [...steps(5, dayMs), ...steps(5, hourMs, start + dayMs)],
  });
  for (const pattern of [
    'a-%d{yyyy}.%i.log',
    'a-%d{HH}.%i.log',
    'a-%d{yyyy-MM-dd_hh}.%i.log',
    'a-%d{dd}.%i.log',
    'a-%d{MM-dd}.%i.log',
    'a-%d{EEE}.%i.log',
    'a-%d{yyyy-MM-dd, Nowhere/Land}.%i.log',
    'a-%d{yyyy-MM-dd.%i.log',
  ])
    add(`refused: ${pattern}`, { pattern, steps: steps(2, 1000) });
  return cases;
}

test('files are those of Logback: names, contents, roll-over, history, cap', async (t) => {
  const directory = await privateDirectory('logback');
  t.after(() => directory.remove());
  const cases = rollingCases();
  const place = (whose: string, at: number) => join(directory.path, whose, String(at));
  const instructions: Instruction[] = [];
  for (const [at, { pattern, maxFileBytes, maxHistory, totalBytes, present, steps }] of cases.entries()) {
    for (const whose of ['theirs', 'ours']) {
      await mkdir(place(whose, at), { recursive: true });
      for (const [name, content] of Object.entries(present ?? {}))
        await writeFile(join(place(whose, at), name), content);
    }
    instructions.push(
      [
        'roll',
        base64(`${place('theirs', at)}/${pattern}`),
        maxFileBytes,
        maxHistory,
        totalBytes,
        steps[0]!.atMs,
      ],
      ...steps.map(({ atMs, message }) => ['at', atMs, base64(message)]),
      ['end'],
    );
  }
  const answers = await startOrSkip(t, () => runLogback(instructions, timeZone));
  if (!answers) return;
  await noteServer(t.fullName, logback);
  assert.equal(answers.length, cases.length);
  for (const [at, each] of cases.entries())
    await t.test(each.title, async () => {
      let nowMs = each.steps[0]!.atMs;
      let pattern: FileNamePattern;
      try {
        pattern = new FileNamePattern(`${place('ours', at)}/${each.pattern}`, new Zone(timeZone));
      } catch (error) {
        assert.equal(answers[at], '!', (error as Error).message);
        return;
      }
      assert.equal(answers[at], String(each.steps.length), 'Logback refuses it');
      const file = new RollingFile({
        pattern,
        roots: [place('ours', at)],
        maxFileBytes: each.maxFileBytes,
        maxHistory: each.maxHistory,
        totalBytes: each.totalBytes,
        now: () => nowMs,
        onCleanFailure: (error) => {
          throw error;
        },
      });
      for (const { atMs, message } of each.steps) {
        nowMs = atMs;
        await file.append([[`${message}\n`]]);
      }
      await file.close();
      const [theirs, ours] = [await tree(place('theirs', at)), await tree(place('ours', at))];
      assert.deepEqual(Object.keys(ours), Object.keys(theirs));
      assert.deepEqual(ours, theirs);
      assert.ok(Object.keys(ours).length > 0);
    });
});

/** Path → content, decompressed; directories as such. */
async function tree(root: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(root.length + 1);
    if (entry.isDirectory()) {
      found[`${name}/`] = '';
      continue;
    }
    const bytes = await readFile(path);
    found[name] = String(bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes);
  }
  return Object.fromEntries(Object.entries(found).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
