import { normaliseHost } from '../../contract/host.ts';

export const brokerSchemes = { TCP: ['tcp', 'ssl'], AMQP: ['amqp', 'amqps'] } as const;
export type BrokerScheme = (typeof brokerSchemes)[keyof typeof brokerSchemes][number];

export interface BrokerOption {
  name: string;
  value: string;
}

export interface Broker {
  scheme: BrokerScheme;
  host: string;
  port: number;
  /** From the URL's user-info. */
  username?: string;
  password?: string;
  /** Options behind this broker's `?`. */
  options: BrokerOption[];
}

export interface BrokerUrl {
  brokers: Broker[];
  /** Whether it was written as `failover:`. */
  failover: boolean;
  /** Options behind the list in parentheses; they apply to all brokers. */
  options: BrokerOption[];
}

const defaultPorts: Record<BrokerScheme, number> = { tcp: 61616, ssl: 61617, amqp: 5672, amqps: 5671 };

/**
 * Reads a broker URL: one URL, several separated by commas, `failover:(a,b)?…` or `(a,b)?…`.
 * Ports left out are 61616 (tcp), 61617 (ssl), 5672 (amqp) and 5671 (amqps). What it cannot read
 * comes back as a sentence that quotes nothing of the URL, because that may hold a password.
 */
export function parseBrokerUrl(url: string): BrokerUrl | { fault: string } {
  const failover = /^failover:(?:\/\/)?/i.exec(url);
  const rest = failover ? url.slice(failover[0].length) : url;
  let listed = rest;
  let options: BrokerOption[] = [];
  if (rest.startsWith('(')) {
    const close = rest.lastIndexOf(')');
    const tail = rest.slice(close + 1);
    if (close < 0 || !(tail === '' || tail.startsWith('?')))
      return { fault: 'has parentheses that do not pair up: failover:(url,url)?options' };
    listed = rest.slice(1, close);
    options = readOptions(tail.slice(1));
  }
  const brokers: Broker[] = [];
  for (const [index, item] of listed.split(',').entries()) {
    const broker = parseBroker(item.trim());
    if ('fault' in broker)
      return {
        fault: listed.includes(',') ? `${broker.fault} (URL ${index + 1} of the list)` : broker.fault,
      };
    brokers.push(broker);
  }
  return { brokers, failover: failover !== null, options };
}

function parseBroker(url: string): Broker | { fault: string } {
  const match =
    /^(tcp|ssl|amqps?):\/\/(?:([^@/?#\s]*)@)?(\[[0-9a-f:.]+\]|[^\s:/?#@,()[\]]+)(?::([0-9]{1,5}))?\/?(?:\?([^#\s()]*))?$/i.exec(
      url,
    );
  if (!match) return { fault: 'must be tcp://, ssl://, amqp:// or amqps:// followed by host:port' };
  const scheme = match[1]!.toLowerCase() as BrokerScheme;
  const port = match[4] === undefined ? defaultPorts[scheme] : Number(match[4]);
  if (port < 1 || port > 65535) return { fault: 'has a port that is not 1 to 65535' };
  const broker: Broker = {
    scheme,
    host: normaliseHost(match[3]!),
    port,
    options: readOptions(match[5] ?? ''),
  };
  if (match[2] !== undefined) {
    const colon = match[2].indexOf(':');
    broker.username = decode(colon < 0 ? match[2] : match[2].slice(0, colon));
    if (colon >= 0) broker.password = decode(match[2].slice(colon + 1));
  }
  return broker;
}

function readOptions(query: string): BrokerOption[] {
  return query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const equals = pair.indexOf('=');
      return equals < 0
        ? { name: decode(pair), value: '' }
        : { name: decode(pair.slice(0, equals)), value: decode(pair.slice(equals + 1)) };
    });
}

function decode(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
}
