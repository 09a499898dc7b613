/** An IP address as bytes: 4 of IPv4, 16 of IPv6. */
export interface IpAddress {
  family: 4 | 6;
  bytes: Uint8Array;
}

/**
 * Reads an address in every spelling that a resolver or a socket would take for one: dotted, octal,
 * hexadecimal, a single number, fewer than four parts (inet_aton), brackets, zone ids, a trailing dot.
 * Undefined for anything that is a name.
 */
export function parseAddress(text: string): IpAddress | undefined {
  let bare = text.trim();
  if (bare.startsWith('[') && bare.endsWith(']')) bare = bare.slice(1, -1);
  if (bare.includes(':')) {
    const zone = bare.indexOf('%');
    const bytes = parseIpv6((zone < 0 ? bare : bare.slice(0, zone)).replace(/\.$/, ''));
    return bytes && { family: 6, bytes };
  }
  const bytes = parseIpv4(bare.replace(/\.$/, ''));
  return bytes && { family: 4, bytes };
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length > 4) return undefined;
  const numbers = parts.map(parsePart);
  if (numbers.some((number) => number === undefined)) return undefined;
  const last = numbers.pop()!;
  if (numbers.some((number) => number! > 255) || last >= 256 ** (4 - numbers.length)) return undefined;
  let value = last;
  for (const [index, number] of numbers.entries()) value += number! * 256 ** (3 - index);
  return Uint8Array.of(value / 2 ** 24, (value / 2 ** 16) & 255, (value / 2 ** 8) & 255, value & 255);
}

function parsePart(part: string): number | undefined {
  if (/^0x[0-9a-f]*$/i.test(part)) return Number.parseInt(part.slice(2) || '0', 16);
  if (/^0[0-7]+$/.test(part)) return Number.parseInt(part, 8);
  if (/^(0|[1-9][0-9]*)$/.test(part)) return Number(part);
  return undefined;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [index, group] of groups.entries()) {
    if (mayEndInIpv4 && index === groups.length - 1 && group.includes('.')) {
      const ipv4 = parseIpv4(group);
      if (!ipv4) return undefined;
      bytes.push(...ipv4);
    } else if (/^[0-9a-f]{1,4}$/i.test(group)) {
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 255);
    } else return undefined;
  }
  return bytes;
}

/** The one spelling of an address that goes to a socket; IPv6 without compression. */
export function formatAddress({ family, bytes }: IpAddress): string {
  if (family === 4) return bytes.join('.');
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at]! << 8) | bytes[at + 1]!).toString(16));
  return groups.join(':');
}

/**
 * The address itself and the IPv4 address that it leads to, if any: mapped (::ffff:0:0/96), compatible
 * (::/96), translated (::ffff:0:0:0/96), NAT64 (64:ff9b::/96, 64:ff9b:1::/48) and 6to4 (2002::/16).
 */
export function reachedAddresses(address: IpAddress): IpAddress[] {
  if (address.family === 4) return [address];
  const { bytes } = address;
  const starts = (prefix: number[]) => prefix.every((byte, index) => bytes[index] === byte);
  const embedded = (at: number): IpAddress => ({ family: 4, bytes: bytes.slice(at, at + 4) });
  const zeros = (count: number) => new Array<number>(count).fill(0);
  if (
    starts([...zeros(10), 0xff, 0xff]) ||
    starts([...zeros(8), 0xff, 0xff, 0, 0]) ||
    starts([0, 0x64, 0xff, 0x9b, ...zeros(8)]) ||
    starts([0, 0x64, 0xff, 0x9b, 0, 1])
  )
    return [address, embedded(12)];
  // ::1 and :: are addresses of their own, not 0.0.0.1 and 0.0.0.0.
  if (starts(zeros(12)) && !starts(zeros(14))) return [address, embedded(12)];
  if (starts([0x20, 0x02])) return [address, embedded(2)];
  return [address];
}

/** A block of addresses, such as 10.0.0.0/8. */
export interface AddressRange {
  address: IpAddress;
  prefix: number;
}

/** Reads a CIDR block or a single address; undefined when it is neither. */
export function parseRange(text: string): AddressRange | undefined {
  const [base, prefixText, more] = text.split('/');
  const address = parseAddress(base ?? '');
  if (!address || more !== undefined) return undefined;
  const longest = address.bytes.length * 8;
  if (prefixText === undefined) return { address, prefix: longest };
  if (!/^[0-9]{1,3}$/.test(prefixText) || Number(prefixText) > longest) return undefined;
  return { address, prefix: Number(prefixText) };
}

export function isInRange({ family, bytes }: IpAddress, { address, prefix }: AddressRange): boolean {
  if (family !== address.family) return false;
  const whole = prefix >> 3;
  for (let at = 0; at < whole; at++) if (bytes[at] !== address.bytes[at]) return false;
  const rest = prefix & 7;
  return rest === 0 || (bytes[whole]! ^ address.bytes[whole]!) >> (8 - rest) === 0;
}
