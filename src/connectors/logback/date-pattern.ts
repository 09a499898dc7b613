/** A date pattern of `java.time.format.DateTimeFormatter`, locale English. */
export type DateFormat = (timestampMs: number) => string;

/** Not a pattern for Java either. */
export class InvalidDatePattern extends Error {}

/** Java knows it, this does not. */
export class UnsupportedDatePattern extends Error {}

interface LocalTime {
  /** Its UTC fields are those of the clock in the zone. */
  date: Date;
  offsetSeconds: number;
}

type Part = (time: LocalTime) => string;

const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Compiles the pattern; throws `InvalidDatePattern` or `UnsupportedDatePattern`. The last result is kept. */
export function compileDatePattern(pattern: string, zone: Zone): DateFormat {
  const parts = parse(pattern, zone);
  let last = Number.NaN;
  let text = '';
  return (timestampMs) => {
    if (timestampMs === last) return text;
    const offsetSeconds = zone.offsetSeconds(timestampMs);
    const time = { date: new Date(timestampMs + offsetSeconds * 1000), offsetSeconds };
    text = '';
    for (const part of parts) text += typeof part === 'string' ? part : part(time);
    last = timestampMs;
    return text;
  };
}

function parse(pattern: string, zone: Zone): (string | Part)[] {
  const parts: (string | Part)[] = [];
  let optional = 0;
  for (let at = 0; at < pattern.length; ) {
    const c = pattern[at]!;
    if (/[A-Za-z]/.test(c)) {
      let end = at + 1;
      while (pattern[end] === c) end++;
      parts.push(field(c, end - at, zone));
      at = end;
    } else if (c === "'") {
      let text = '';
      let end = at + 1;
      for (; ; end++) {
        if (end >= pattern.length) throw new InvalidDatePattern('a quote is not closed');
        if (pattern[end] !== "'") text += pattern[end];
        else if (pattern[end + 1] === "'") {
          text += "'";
          end++;
        } else break;
      }
      parts.push(text === '' ? "'" : text);
      at = end + 1;
    } else {
      if (c === '{' || c === '}' || c === '#') throw new InvalidDatePattern(`${c} is reserved`);
      if (c === '[') optional++;
      else if (c === ']') {
        if (optional-- === 0) throw new InvalidDatePattern('a left bracket is missing');
      } else parts.push(c);
      at++;
    }
  }
  return parts;
}

const pad = (value: number, width: number) => String(value).padStart(width, '0');

function field(letter: string, count: number, zone: Zone): string | Part {
  const atMost = (most: number) => {
    if (count > most) throw new InvalidDatePattern(`too many letters: ${letter.repeat(count)}`);
  };
  const number = (value: (date: Date) => number): Part => {
    atMost(2);
    return ({ date }) => pad(value(date), count);
  };
  const wide = (value: (date: Date) => number): Part => {
    atMost(19);
    return ({ date }) => pad(value(date), count);
  };
  const name = (full: (date: Date) => string, short: (date: Date) => string): Part => {
    atMost(5);
    if (count === 4) return ({ date }) => full(date);
    if (count === 5) return ({ date }) => full(date).slice(0, 1);
    return ({ date }) => short(date);
  };
  const msOfDay = (date: Date) => date.getTime() - Math.floor(date.getTime() / 86_400_000) * 86_400_000;
  switch (letter) {
    case 'y':
    case 'u':
      atMost(19);
      if (count === 2) return ({ date }) => pad(date.getUTCFullYear() % 100, 2);
      return ({ date }) => {
        const year = date.getUTCFullYear();
        return (count >= 4 && year >= 10 ** count ? '+' : '') + pad(year, count);
      };
    case 'M':
    case 'L': {
      if (count <= 2) return number((date) => date.getUTCMonth() + 1);
      const month = (date: Date) => months[date.getUTCMonth()]!;
      return name(month, (date) => month(date).slice(0, 3));
    }
    case 'd':
      return number((date) => date.getUTCDate());
    case 'D':
      atMost(3);
      return ({ date }) =>
        pad(Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1, count);
    case 'Q':
    case 'q': {
      const quarter = (date: Date) => Math.floor(date.getUTCMonth() / 3) + 1;
      if (count <= 2) return number(quarter);
      atMost(5);
      const ordinals = ['', '1st', '2nd', '3rd', '4th'];
      if (count === 4) return ({ date }) => `${ordinals[quarter(date)]} quarter`;
      return ({ date }) => (count === 5 ? '' : 'Q') + quarter(date);
    }
    case 'E': {
      const day = (date: Date) => days[date.getUTCDay()]!;
      return name(day, (date) => day(date).slice(0, 3));
    }
    case 'G':
      atMost(5);
      return count === 4 ? 'Anno Domini' : count === 5 ? 'A' : 'AD';
    case 'a':
      atMost(1);
      return ({ date }) => (date.getUTCHours() < 12 ? 'AM' : 'PM');
    case 'H':
      return number((date) => date.getUTCHours());
    case 'k':
      return number((date) => date.getUTCHours() || 24);
    case 'K':
      return number((date) => date.getUTCHours() % 12);
    case 'h':
      return number((date) => date.getUTCHours() % 12 || 12);
    case 'm':
      return number((date) => date.getUTCMinutes());
    case 's':
      return number((date) => date.getUTCSeconds());
    case 'S':
      atMost(9);
      return ({ date }) => pad(date.getUTCMilliseconds(), 3).padEnd(9, '0').slice(0, count);
    case 'n':
      return wide((date) => date.getUTCMilliseconds() * 1_000_000);
    case 'A':
      return wide(msOfDay);
    case 'N':
      return wide((date) => msOfDay(date) * 1_000_000);
    case 'V':
      if (count !== 2) throw new InvalidDatePattern('VV is the only form of V');
      return zone.id;
    case 'X':
    case 'x':
      atMost(5);
      return ({ offsetSeconds }) => {
        if (offsetSeconds === 0 && letter === 'X') return 'Z';
        return count === 1 ? offset(offsetSeconds, '', true) : offset(offsetSeconds, count % 2 ? ':' : '');
      };
    case 'Z':
      atMost(5);
      return ({ offsetSeconds }) => {
        if (count < 4) return offset(offsetSeconds, '');
        if (count === 4) return offsetSeconds === 0 ? 'GMT' : `GMT${offset(offsetSeconds, ':')}`;
        return offsetSeconds === 0 ? 'Z' : offset(offsetSeconds, ':');
      };
    case 'O':
      if (count !== 1 && count !== 4) throw new InvalidDatePattern('O and OOOO are the only forms of O');
      return ({ offsetSeconds }) => {
        if (offsetSeconds === 0) return 'GMT';
        const full = offset(offsetSeconds, ':');
        return `GMT${count === 4 ? full : full.replace(/^([+-])0/, '$1').replace(/:00$/, '')}`;
      };
    default:
      if ('YwWecFBvzp'.includes(letter))
        throw new UnsupportedDatePattern(`the letter ${letter} is not supported in dates here`);
      throw new InvalidDatePattern(`${letter} is not a letter of date patterns`);
  }
}

function offset(seconds: number, separator: string, hoursOnly = false): string {
  const minutes = Math.floor(Math.abs(seconds) / 60);
  const hours = `${seconds < 0 ? '-' : '+'}${pad(Math.floor(minutes / 60), 2)}`;
  return hoursOnly && minutes % 60 === 0 ? hours : `${hours}${separator}${pad(minutes % 60, 2)}`;
}

/** A time zone as `java.time.ZoneId` names it. */
export class Zone {
  readonly id: string;
  readonly #fixedSeconds: number | undefined;
  readonly #clock: Intl.DateTimeFormat | undefined;
  /** Offsets change at whole quarters of an hour. */
  #cachedQuarter = Number.NaN;
  #cachedSeconds = 0;

  /** Throws a RangeError where there is no such zone. */
  constructor(id: string) {
    this.id = id;
    this.#fixedSeconds = fixedOffset(id);
    if (this.#fixedSeconds === undefined)
      this.#clock = new Intl.DateTimeFormat('en-US', {
        timeZone: id,
        hourCycle: 'h23',
        era: 'short',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      });
  }

  /** The worker's own. */
  static system(): Zone {
    return new Zone(Intl.DateTimeFormat().resolvedOptions().timeZone);
  }

  offsetSeconds(timestampMs: number): number {
    if (!this.#clock) return this.#fixedSeconds ?? 0;
    const quarter = Math.floor(timestampMs / 900_000);
    if (quarter === this.#cachedQuarter) return this.#cachedSeconds;
    const at = quarter * 900_000;
    const parts = Object.fromEntries(
      this.#clock.formatToParts(at).map(({ type, value }) => [type, Number(value)]),
    );
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
    this.#cachedQuarter = quarter;
    this.#cachedSeconds = (Date.UTC(year, month - 1, day, hour, minute, second) - at) / 1000;
    return this.#cachedSeconds;
  }

  /** The instant at which the clock shows `localMs` (as if it were UTC); the later of two, and after a gap. */
  instantOf(localMs: number): number {
    const before = this.offsetSeconds(localMs - 86_400_000) * 1000;
    const after = this.offsetSeconds(localMs + 86_400_000) * 1000;
    const late = localMs - after;
    if (this.offsetSeconds(late) * 1000 === after) return late;
    return localMs - before;
  }
}

function fixedOffset(id: string): number | undefined {
  if (/^(Z|UTC|GMT|UT|Etc\/UTC|Etc\/GMT)$/.test(id)) return 0;
  const match = /^(?:UTC|GMT|UT)?([+-])([0-9]{1,2})(?::?([0-9]{2}))?$/.exec(id);
  if (!match) return undefined;
  const [, sign, hours, minutes = '0'] = match;
  return (sign === '-' ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60);
}
