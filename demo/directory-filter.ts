import { BerReader } from '../src/connectors/snmp/ber.ts';

type Filter = (values: (attribute: string) => string[]) => boolean;

/** Reads a search filter (RFC 4511, 4.5.1.7); what compares is without regard to case. Fails on extensible matches. */
export function readFilter(request: BerReader): Filter {
  const { tag, contents } = request.next();
  const inner = new BerReader(contents);
  switch (tag) {
    case 0xa0: {
      const parts = readAll(inner);
      return (values) => parts.every((part) => part(values));
    }
    case 0xa1: {
      const parts = readAll(inner);
      return (values) => parts.some((part) => part(values));
    }
    case 0xa2: {
      const part = readFilter(inner);
      return (values) => !part(values);
    }
    case 0xa3:
    case 0xa8:
      return readComparison(inner, (value, wanted) => value === wanted);
    case 0xa5:
      return readComparison(inner, (value, wanted) => value >= wanted);
    case 0xa6:
      return readComparison(inner, (value, wanted) => value <= wanted);
    case 0xa4:
      return readSubstrings(inner);
    case 0x87: {
      const attribute = contents.toString();
      return (values) => values(attribute).length > 0;
    }
    default:
      throw new Error(`a filter with the tag ${tag} is not known`);
  }
}

/** Whether an entry is found by a filter. */
export function matches(filter: Filter, { attributes }: { attributes: Record<string, string[]> }): boolean {
  return filter((wanted) =>
    Object.entries(attributes)
      .filter(([name]) => name.toLowerCase() === wanted.toLowerCase())
      .flatMap(([, values]) => values.map((value) => value.toLowerCase())),
  );
}

function readAll(reader: BerReader): Filter[] {
  const filters: Filter[] = [];
  while (!reader.isAtEnd) filters.push(readFilter(reader));
  return filters;
}

function readComparison(reader: BerReader, holds: (value: string, wanted: string) => boolean): Filter {
  const attribute = reader.octets().toString();
  const wanted = reader.octets().toString().toLowerCase();
  return (values) => values(attribute).some((value) => holds(value, wanted));
}

function readSubstrings(reader: BerReader): Filter {
  const attribute = reader.octets().toString();
  let pattern = '^';
  let isOpen = true;
  for (const parts = reader.inner(); !parts.isAtEnd; ) {
    const { tag, contents } = parts.next();
    const text = contents
      .toString()
      .toLowerCase()
      .replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    // initial, any, final: only the first and the last are tied to an end.
    if (tag === 0x80) pattern += text;
    else pattern += `.*${text}`;
    isOpen = tag !== 0x82;
  }
  const expression = new RegExp(isOpen ? pattern : `${pattern}$`, 's');
  return (values) => values(attribute).some((value) => expression.test(value));
}
