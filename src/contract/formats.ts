import { isHost } from './host.ts';

interface Format {
  validate(text: string): boolean;
  /** Said when a value is not of the format. */
  message: string;
}

const displayName = /^(?:"(?:[^"\\\r\n]|\\[^\r\n])*"|[^<>"\r\n]*)$/;

/** The formats that a definition may name. */
export const formats: Readonly<Record<string, Format>> = {
  'email-address': {
    validate: isEmailAddress,
    message: 'must be an email address',
  },
  mailbox: {
    validate(text) {
      // Taken apart first: a pattern of both parts tries every blank between them as the end of the name.
      const whole = text.trim();
      const at = whole.lastIndexOf('<');
      const address = at < 0 ? null : /^<([^<>\s]+)>$/.exec(whole.slice(at));
      const isNamed = address && displayName.test(whole.slice(0, at).trimEnd());
      return isEmailAddress(isNamed ? address[1]! : text);
    },
    message: 'must be an email address, or "Name <address>"',
  },
  'http-url': {
    validate: isHttpUrl,
    message: 'must be a URL that starts with http:// or https://',
  },
  oid: {
    validate: (text) => /^\.?[0-2](?:\.(?:0|[1-9]\d{0,9}))+$/.test(text),
    message: 'must be an object identifier such as 1.3.6.1.4.1',
  },
  host: {
    validate: isHost,
    message: 'must be a DNS name, an IPv4 or an IPv6 address',
  },
  base64: {
    validate: (text) =>
      /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/.test(
        text.replaceAll(/[\r\n]/g, ''),
      ),
    message: 'must be base64',
  },
};

function isEmailAddress(text: string): boolean {
  const at = text.lastIndexOf('@');
  if (at < 1 || at > 64 || text.length > 320) return false;
  const local = text.slice(0, at);
  const domain = text.slice(at + 1);
  const isDotAtom = /^[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+(?:\.[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+)*$/u.test(local);
  const isQuoted = /^"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"$/.test(local);
  if (!isDotAtom && !isQuoted) return false;
  const literal = /^\[(?:IPv6:)?(.+)\]$/i.exec(domain);
  return isHost(literal ? literal[1]! : domain) && !domain.includes('%');
}

function isHttpUrl(text: string): boolean {
  // What a URL parser would silently repair leads elsewhere in another parser.
  if (!/^https?:\/\/[^/\\\s]/i.test(text) || /[\\\s\p{Cc}]/u.test(text)) return false;
  const url = URL.parse(text);
  if (url === null || url.port === '0') return false;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return isHost(host);
}
