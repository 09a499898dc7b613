import { networkInterfaces } from 'node:os';
import { domainToASCII } from 'node:url';
import { AppError } from '../errors.ts';
import {
  type AddressRange,
  type IpAddress,
  isInRange,
  parseAddress,
  parseRange,
  reachedAddresses,
} from './address.ts';

export interface EgressOptions {
  /**
   * Opens what is closed by default; it does not close the rest. Entries: CIDR block, address, host
   * glob (`*.corp.example`); each may end in `:port`.
   */
  allow?: readonly string[];
  /** Closes more; wins over `allow`. */
  deny?: readonly string[];
  /**
   * Listeners and database of the product itself. Opened only by an `allow` entry that names the port,
   * so that opening a network does not open them in passing.
   */
  own?: readonly { host: string; port: number }[];
}

export interface EgressPolicy {
  /** Throws `egress_denied`; `host` is the name that was asked for, `port` undefined while only resolving. */
  check(host: string, address: IpAddress, port: number | undefined): void;
  readonly own: readonly { host: string; port: number }[];
  /** Takes note of an address that a host name of `own` leads to. */
  noteOwn(host: string, addresses: readonly IpAddress[]): void;
}

/** Loopback and private networks are open: a self-hosted product's targets are there. */
const closedByDefault: readonly [range: string, what: string][] = [
  ['169.254.0.0/16', 'a link-local or cloud metadata address'],
  ['fe80::/10', 'a link-local address'],
  ['fec0::/10', 'a site-local address'],
  ['fd00:ec2::/32', 'a cloud metadata address'],
  ['fd20:ce::254/128', 'a cloud metadata address'],
  ['100.100.100.200/32', 'a cloud metadata address'],
  ['168.63.129.16/32', 'a cloud metadata address'],
  ['192.0.0.192/32', 'a cloud metadata address'],
  ['0.0.0.0/8', 'an unspecified address'],
  ['::/128', 'an unspecified address'],
  ['224.0.0.0/4', 'a multicast address'],
  ['ff00::/8', 'a multicast address'],
  ['255.255.255.255/32', 'the broadcast address'],
];

const closedRanges = closedByDefault.map(([range, what]) => ({ range: parseRange(range)!, what }));

const allowVariable = 'PLUGBOARD_WORKER_EGRESS_ALLOW';
const denyVariable = 'PLUGBOARD_WORKER_EGRESS_DENY';

interface Entry {
  range?: AddressRange;
  glob?: RegExp;
  port?: number;
}

/** The policy of security.md 8; throws `invalid_configuration` naming an entry that cannot be read. */
export function createEgressPolicy(options: EgressOptions = {}): EgressPolicy {
  const allow = (options.allow ?? []).map((text) => parseEntry(text, allowVariable));
  const deny = (options.deny ?? []).map((text) => parseEntry(text, denyVariable));
  const own = options.own ?? [];
  const ownAddresses = new Map<string, readonly IpAddress[]>();

  const isOwn = (host: string, reached: IpAddress[], port: number) =>
    own.some((endpoint) => {
      if (endpoint.port !== port) return false;
      if (bareHost(endpoint.host) === host) return true;
      const literal = parseAddress(endpoint.host);
      const ranges = literal ? listeningRanges(literal) : (ownAddresses.get(endpoint.host) ?? []).map(single);
      return reached.some((address) => ranges.some((range) => isInRange(address, range)));
    });

  return {
    own,
    noteOwn(host, addresses) {
      ownAddresses.set(host, addresses.flatMap(reachedAddresses));
    },
    check(asked, address, port) {
      const host = bareHost(asked);
      const reached = reachedAddresses(address);
      const matches = (entry: Entry) =>
        (entry.port === undefined || entry.port === port) &&
        (entry.glob ? entry.glob.test(host) : reached.some((one) => isInRange(one, entry.range!)));
      if (deny.some(matches))
        throw denied(asked, 'it is denied by the operator of the worker', `closes it by ${denyVariable}`);
      if (port !== undefined && isOwn(host, reached, port)) {
        if (allow.some((entry) => entry.port !== undefined && matches(entry))) return;
        throw denied(
          asked,
          'it is a listener or the database of Plugboard itself',
          `can allow it by an entry of ${allowVariable} that names the port`,
        );
      }
      const closed = closedRanges.find(({ range }) => reached.some((one) => isInRange(one, range)));
      // While only resolving the port is not known; the check at connect time decides about entries with one.
      const opens = (entry: Entry) =>
        port === undefined ? matches({ ...entry, port: undefined }) : matches(entry);
      if (closed && !allow.some(opens))
        throw denied(asked, `it leads to ${closed.what}`, `can allow it by ${allowVariable}`);
    },
  };
}

function denied(host: string, why: string, remedy: string): AppError {
  return new AppError('egress_denied', `The worker's egress policy forbids '${host}': ${why}`, {
    details: { hint: `The operator of the worker ${remedy}.` },
  });
}

/** The spelling by which names are compared: lower case, ASCII, without the dot of the root. */
function bareHost(host: string): string {
  const bare = host.trim().toLowerCase().replace(/\.$/, '');
  return /^[\x00-\x7f]*$/.test(bare) ? bare : domainToASCII(bare) || bare;
}

function single(address: IpAddress): AddressRange {
  return { address, prefix: address.bytes.length * 8 };
}

/** A listener on the unspecified address answers on every address of this machine. */
function listeningRanges(address: IpAddress): AddressRange[] {
  if (address.bytes.some((byte) => byte !== 0)) return reachedAddresses(address).map(single);
  const local = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  return [
    parseRange('127.0.0.0/8')!,
    parseRange('::1')!,
    ...local.flatMap((entry) => parseRange(entry.address) ?? []),
  ];
}

function parseEntry(text: string, variable: string): Entry {
  const whole = parseRange(text);
  if (whole) return { range: whole };
  const withPort = /^(.*):([0-9]{1,5})$/.exec(text);
  const target = withPort ? withPort[1]! : text;
  const port = withPort ? Number(withPort[2]) : undefined;
  const range = parseRange(target);
  const portPart = port === undefined ? {} : { port };
  if (port === undefined || (port >= 1 && port <= 65535)) {
    if (range) return { range, ...portPart };
    if (/^[A-Za-z0-9*?._-]+$/.test(target) && !/^[0-9.]+$/.test(target))
      return { glob: globPattern(bareHost(target)), ...portPart };
  }
  throw new AppError(
    'invalid_configuration',
    `${variable}: '${text}' is no egress entry: give a CIDR block, an address or a host glob, with :port if need be`,
  );
}

function globPattern(glob: string): RegExp {
  const source = glob.replace(/[.*+?^${}()|[\]\\]/g, (special) =>
    special === '*' ? '.*' : special === '?' ? '.' : `\\${special}`,
  );
  return new RegExp(`^${source}$`, 'u');
}
