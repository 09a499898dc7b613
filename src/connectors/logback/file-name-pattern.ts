import { compileDatePattern, type DateFormat, Zone } from './date-pattern.ts';
import { parsePattern } from './pattern-parser.ts';

type Part =
  | { kind: 'literal'; text: string }
  | { kind: 'date'; format: DateFormat }
  | { kind: 'index'; width: number };

const periods = ['millisecond', 'second', 'minute', 'hour', 'day', 'month'] as const;
export type Period = (typeof periods)[number];

const lengthsMs = { millisecond: 1, second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Letters that Java's two kinds of date formats share: Logback uses both on file names. */
const dateLetters = /^[GyMLdDEahHkKmsSXZ]*$/;

/**
 * Names of the files of a rolling log, and the periods by which they roll, as Logback's FileNamePattern
 * and RollingCalendar have them. The constructor throws an Error that says what is wrong.
 */
export class FileNamePattern {
  readonly isCompressed: boolean;
  readonly period: Period;
  readonly #parts: Part[] = [];
  readonly #zone: Zone;
  /** Whether directories may be left empty when files are deleted. */
  readonly hasDirectories: boolean;

  constructor(pattern: string, systemZone: Zone) {
    const slashed = pattern.replaceAll('\\', '/').trim();
    if (/\.(zip|xz)$/.test(slashed)) throw new Error('.zip and .xz are not supported, .gz is');
    this.isCompressed = slashed.endsWith('.gz');
    let primary: { zone: Zone; datePattern: string } | undefined;
    let hasDirectories = false;
    for (const node of parsePattern(slashed.replaceAll(')', '\\)'), 'file-name')) {
      if (node.kind === 'literal') {
        this.#parts.push({ kind: 'literal', text: node.text });
        hasDirectories ||= this.#parts.some(({ kind }) => kind === 'date') && node.text.includes('/');
        continue;
      }
      if (node.kind === 'composite' || (node.word !== 'd' && node.word !== 'i'))
        throw new Error(`%${node.word} is not known in file names`);
      if (node.word === 'i') {
        this.#parts.push({ kind: 'index', width: node.format?.min ?? 0 });
        continue;
      }
      const [datePattern = 'yyyy-MM-dd', ...options] = node.options ?? [];
      if (!dateLetters.test(datePattern.replace(/'[^']*'/g, '').replace(/[^A-Za-z]/g, '')))
        throw new Error(`the date ${datePattern} has a letter that is not supported in file names`);
      const isAuxiliary = options.some((option) => option.toUpperCase() === 'AUX');
      const zoneId = options.findLast((option) => option.toUpperCase() !== 'AUX');
      const zone = zoneId === undefined ? systemZone : readZone(zoneId);
      this.#parts.push({ kind: 'date', format: compileDatePattern(datePattern, zone) });
      if (!isAuxiliary) primary ??= { zone, datePattern };
    }
    if (!primary) throw new Error('a %d that is not auxiliary is missing');
    if (!this.#parts.some(({ kind }) => kind === 'index')) throw new Error('%i is missing');
    this.#zone = primary.zone;
    this.period = periodOf(primary.datePattern);
    this.hasDirectories = hasDirectories || primary.datePattern.includes('/');
  }

  /** Name of the file that is written; the suffix of compression comes when it is complete. */
  activeName(timestampMs: number, index: number): string {
    const name = this.#convert(timestampMs, (width) => String(index).padStart(width, '0'));
    return this.isCompressed ? name.slice(0, -'.gz'.length) : name;
  }

  /** Recognises the last part of the names of a period's files, and tells their index. */
  matcher(timestampMs: number): { directory: string; indexOf(fileName: string): number | undefined } {
    // Characters of no name, in place of which digits stand.
    const path = this.#convert(timestampMs, () => '\0');
    const slash = path.lastIndexOf('/');
    const stem = path.slice(slash + 1);
    const expression = new RegExp(
      `^${stem.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('\0', '([0-9]{1,9})')}$`,
    );
    return {
      directory: path.slice(0, slash + 1).replaceAll('\0', '0'),
      indexOf(fileName) {
        const digits = expression.exec(fileName)?.[1];
        return digits === undefined ? undefined : Number(digits);
      },
    };
  }

  /** The beginning of the period that is `count` after the one of the instant. */
  startOfPeriod(timestampMs: number, count: number): number {
    const { period } = this;
    const local = timestampMs + this.#zone.offsetSeconds(timestampMs) * 1000;
    if (period === 'month') {
      const date = new Date(local);
      return this.#zone.instantOf(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + count, 1));
    }
    const length = lengthsMs[period];
    if (period === 'day') return this.#zone.instantOf((Math.floor(local / length) + count) * length);
    return timestampMs - (local - Math.floor(local / length) * length) + count * length;
  }

  /** How many periods began after the first instant, up to the second. */
  periodsBetween(startMs: number, endMs: number): number {
    const { period } = this;
    if (period === 'month') {
      const months = (at: number) => {
        const date = new Date(at + this.#zone.offsetSeconds(at) * 1000);
        return date.getUTCFullYear() * 12 + date.getUTCMonth();
      };
      return months(endMs) - months(startMs);
    }
    const floor = (at: number) => {
      const start = this.startOfPeriod(at, 0);
      return start + this.#zone.offsetSeconds(start) * 1000;
    };
    return Math.trunc((floor(endMs) - floor(startMs)) / lengthsMs[period]);
  }

  #convert(timestampMs: number, index: (width: number) => string): string {
    return this.#parts
      .map((part) => {
        if (part.kind === 'literal') return part.text;
        return part.kind === 'date' ? part.format(timestampMs) : index(part.width);
      })
      .join('');
  }
}

function readZone(id: string): Zone {
  try {
    return new Zone(id);
  } catch {
    throw new Error(`${id} is not a time zone`);
  }
}

/** The shortest period after which the date is another one; each has to give its files names of their own. */
function periodOf(datePattern: string): Period {
  const format = compileDatePattern(datePattern, new Zone('UTC'));
  const start = format(0);
  const ends = { ...lengthsMs, month: Date.UTC(1970, 1, 1) };
  const period = periods.find((each) => format(ends[each]) !== start);
  if (!period) throw new Error(`the date ${datePattern} is the same in every month`);
  const collisionsMs = {
    hour: [12 * lengthsMs.hour],
    day: [7, 31, 365].map((days) => days * lengthsMs.day),
  };
  if (period === 'hour' || period === 'day')
    for (const laterMs of collisionsMs[period])
      if (format(laterMs) === start)
        throw new Error(`the date ${datePattern} comes again, so that files would have the same names`);
  return period;
}
