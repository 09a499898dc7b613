import type { InputOf } from '../../contract/connection-type.ts';
import {
  compileDatePattern,
  type DateFormat,
  InvalidDatePattern,
  UnsupportedDatePattern,
  Zone,
} from './date-pattern.ts';
import type { logback, logLevels } from './logback.definition.ts';
import { bareComposite, type Format, type PatternNode, parsePattern } from './pattern-parser.ts';

type LogInput = InputOf<(typeof logback)['operations']['log']>;
// The schema's levels are a list, of which the type knows no members.
export type LogItem = Omit<NonNullable<LogInput['messages']>[number], 'level'> & {
  level?: (typeof logLevels)[number];
};

/** An event with everything that a layout can ask for. */
export type LogEvent = LogItem & { timestampMs: number };

type Converter = (event: LogEvent) => string;
/** A text stands for itself in every line. */
type Part = string | Converter;

export const iso8601 = 'yyyy-MM-dd HH:mm:ss,SSS';
const datePatterns: Record<string, string> = { ISO8601: iso8601, STRICT: "yyyy-MM-dd'T'HH:mm:ss,SSS" };

/** ANSI codes of Logback's colouring words. */
const colours: Record<string, string> = {
  black: '30',
  red: '31',
  green: '32',
  yellow: '33',
  blue: '34',
  magenta: '35',
  cyan: '36',
  white: '37',
  gray: '1;30',
  boldRed: '1;31',
  boldGreen: '1;32',
  boldYellow: '1;33',
  boldBlue: '1;34',
  boldMagenta: '1;35',
  boldCyan: '1;36',
  boldWhite: '1;37',
};
const highlights: Record<string, string> = { ERROR: '1;31', WARN: '31', INFO: '34' };

const throwableWords = new Set([
  'ex',
  'exception',
  'throwable',
  'rEx',
  'rootException',
  'xEx',
  'xException',
  'xThrowable',
  'nopex',
  'nopexception',
]);

/** Words of Logback for what an event of ours does not have. */
const withoutMeaning = new Set([
  'C',
  'class',
  'M',
  'method',
  'L',
  'line',
  'F',
  'file',
  'caller',
  'marker',
  'kvp',
  'maskedKvp',
  'property',
  'prefix',
  'sn',
  'sequenceNumber',
  'lsn',
  'ms',
  'micros',
  'r',
  'relative',
]);

/** Compiles a line pattern as Logback's PatternLayout does; throws an Error that says what is wrong. */
export function compileLayout(pattern: string, zone: Zone): Converter {
  const nodes = parsePattern(pattern, 'layout');
  const parts = compileAll(nodes, zone);
  if (!handlesThrowable(nodes)) parts.push(exceptionConverter([]));
  return concatenate(parts);
}

function concatenate(all: readonly Part[]): Converter {
  const parts: Part[] = [];
  for (const part of all) {
    const last = parts.at(-1);
    if (typeof part === 'string' && typeof last === 'string') parts[parts.length - 1] = last + part;
    else parts.push(part);
  }
  return (event) => {
    let text = '';
    for (const part of parts) text += typeof part === 'string' ? part : part(event);
    return text;
  };
}

function handlesThrowable(nodes: readonly PatternNode[]): boolean {
  return nodes.some(
    (node) =>
      (node.kind === 'keyword' && throwableWords.has(node.word)) ||
      (node.kind === 'composite' && handlesThrowable(node.children)),
  );
}

function compileAll(nodes: readonly PatternNode[], zone: Zone): Part[] {
  return nodes.map((node) => {
    if (node.kind === 'literal') return node.text;
    if (withoutMeaning.has(node.word))
      throw new Error(`%${node.word} is not supported here: an event has no such value`);
    const part =
      node.kind === 'keyword' ? keyword(node.word, node.options ?? [], zone) : composite(node, zone);
    // A word that Logback does not know appears in the line, without its width.
    if (part === undefined) return `%PARSER_ERROR[${node.word}]`;
    const { format } = node;
    if (!format) return part;
    return typeof part === 'string' ? fitted(part, format) : (event) => fitted(part(event), format);
  });
}

function composite(node: PatternNode & { kind: 'composite' }, zone: Zone): Converter | undefined {
  const { word, children } = node;
  const inner = concatenate(compileAll(children, zone));
  if (word === bareComposite) return inner;
  if (word === 'replace') {
    const { characters, by } = replacement(node.options);
    return (event) => inner(event).replace(characters, () => by);
  }
  if (word === 'highlight')
    return (event) => coloured(highlights[event.level ?? 'INFO'] ?? '39', inner(event));
  const code = Object.hasOwn(colours, word) ? colours[word] : undefined;
  return code === undefined ? undefined : (event) => coloured(code, inner(event));
}

/** Characters of a class as Java and JavaScript read them alike; any other expression could take the worker's time. */
const characterClass = /^\[\^?(?:[^\\[\]&^]|\\[rnt\\\]])+\]\+?$/u;

function replacement(options: readonly string[] = []): { characters: RegExp; by: string } {
  const [regex = '', by = '\\'] = options;
  if (!characterClass.test(regex) || /[\\$]/.test(by))
    throw new Error(
      "%replace takes a class of characters and a text without $ and \\, such as {'[\\r\\n]+', ' '}",
    );
  return { characters: new RegExp(regex, 'gu'), by };
}

function coloured(code: string, text: string): string {
  return `\x1b[${code}m${text}\x1b[0;39m`;
}

function keyword(word: string, options: string[], zone: Zone): Part | undefined {
  switch (word) {
    case 'd':
    case 'date': {
      const format = dateFormat(options, zone);
      return (event) => format(event.timestampMs);
    }
    case 'level':
    case 'le':
    case 'p':
      return (event) => event.level ?? 'INFO';
    case 't':
    case 'thread':
      return (event) => event.thread ?? 'main';
    case 'lo':
    case 'logger':
    case 'c':
      return loggerConverter(options[0]);
    case 'm':
    case 'msg':
    case 'message':
      return (event) => event.message;
    case 'X':
    case 'mdc':
      return mdcConverter(options[0]);
    case 'n':
      return '\n';
    case 'cn':
    case 'contextName':
      return 'default';
    case 'nopex':
    case 'nopexception':
      return '';
    default:
      return throwableWords.has(word) ? exceptionConverter(options) : undefined;
  }
}

function dateFormat([pattern = 'ISO8601', zoneId, locale]: string[], systemZone: Zone): DateFormat {
  let zone = systemZone;
  if (zoneId !== undefined)
    try {
      zone = new Zone(zoneId);
    } catch {
      throw new Error(`%d: ${zoneId} is not a time zone`);
    }
  if (locale !== undefined && !/^en(-|$)/i.test(locale))
    throw new Error(`%d: the locale ${locale} is not supported, dates are written in English`);
  try {
    return compileDatePattern(datePatterns[pattern] ?? pattern, zone);
  } catch (error) {
    if (error instanceof UnsupportedDatePattern) throw new Error(`%d: ${error.message}`);
    if (!(error instanceof InvalidDatePattern)) throw error;
    return compileDatePattern(iso8601, zone);
  }
}

function loggerConverter(option: string | undefined): Converter {
  const length = option !== undefined && /^[+-]?[0-9]{1,9}$/.test(option) ? Number(option) : -1;
  const name = (event: LogEvent) => event.logger ?? 'plugboard';
  if (length < 0) return name;
  let lastName: string | undefined;
  let short = '';
  return (event) => {
    const full = name(event);
    if (full !== lastName) {
      short = length === 0 ? full.slice(full.lastIndexOf('.') + 1) : abbreviate(full, length);
      lastName = full;
    }
    return short;
  };
}

/** As TargetLengthBasedClassNameAbbreviator: packages become one letter from the left until it fits. */
function abbreviate(name: string, targetLength: number): string {
  const lastDot = name.lastIndexOf('.');
  if (name.length < targetLength || lastDot < 0) return name;
  const lastLength = name.length - lastDot;
  const toTrim = name.length - lastLength - Math.max(0, targetLength - lastLength);
  let short = '';
  let trimmed = 0;
  let isStart = true;
  let at = 0;
  for (; at < lastDot; at++) {
    const c = name[at]!;
    if (c === '.') {
      if (trimmed >= toTrim) break;
      short += c;
      isStart = true;
    } else if (isStart) {
      short += c;
      isStart = false;
    } else trimmed++;
  }
  return short + name.slice(at);
}

function mdcConverter(option: string | undefined): Converter {
  if (option === undefined)
    return ({ mdc = {} }) =>
      Object.entries(mdc)
        .map(([key, value]) => `${key}=${value}`)
        .join(', ');
  const delimiter = option.indexOf(':-');
  const key = delimiter < 0 ? option : option.slice(0, delimiter);
  const otherwise = delimiter < 0 ? '' : option.slice(delimiter + 2);
  return ({ mdc }) => (mdc && Object.hasOwn(mdc, key) ? mdc[key]! : otherwise);
}

/** The stack trace as it was given, each throwable cut to so many frames, lines with one of the words left out. */
function exceptionConverter([length = 'full', ...ignored]: string[]): Converter {
  const wanted = length.toLowerCase();
  const most =
    wanted === 'short' ? 1 : /^\+?[0-9]{1,9}$/.test(wanted) ? Number(wanted) : Number.POSITIVE_INFINITY;
  if (most === Number.POSITIVE_INFINITY && ignored.length === 0)
    return ({ exception }) => (!exception ? '' : exception.endsWith('\n') ? exception : `${exception}\n`);
  return ({ exception }) => (exception ? shorten(exception, most, ignored) : '');
}

function shorten(exception: string, most: number, ignored: readonly string[]): string {
  const written: string[] = [];
  let frames = 0;
  let skipped = 0;
  const endThrowable = () => {
    if (skipped > 0) written.push(` [${skipped} skipped]`);
    frames = 0;
    skipped = 0;
  };
  for (const line of exception.replace(/\n$/, '').split('\n')) {
    if (/^\s*at /.test(line)) {
      if (frames >= most) continue;
      if (ignored.some((word) => line.includes(word))) {
        skipped++;
        continue;
      }
      frames++;
      written.push(skipped > 0 ? `${line} [${skipped} skipped]` : line);
      skipped = 0;
    } else if (/^\s*\.\.\. [0-9]+ /.test(line)) {
      if (frames < most) written.push(line);
    } else {
      endThrowable();
      written.push(line);
    }
  }
  endThrowable();
  return `${written.join('\n')}\n`;
}

function fitted(text: string, { min, max, padLeft, truncateLeft }: Format): string {
  if (text.length > max) return truncateLeft ? text.slice(text.length - max) : text.slice(0, max);
  if (text.length < min) return padLeft ? text.padStart(min) : text.padEnd(min);
  return text;
}

/** The text as UTF-8 can hold it: half of a surrogate pair becomes a question mark, as Java writes it. */
export function wellFormedLine(text: string): string {
  if (text.isWellFormed()) return text;
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '?');
}
