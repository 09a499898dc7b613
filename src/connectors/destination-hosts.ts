import { matchesStars } from '../contract/glob.ts';
import { normaliseHost } from '../contract/host.ts';
import { parseBrokerUrl } from './activemq/broker-url.ts';
import { parseJdbcUrl } from './database/jdbc-url.ts';

type Config = Record<string, unknown>;

/** For each type that sends secrets, every host that a resolved configuration leads to. */
const hostsByType: Readonly<Record<string, (config: Config) => string[]>> = {
  email: ({ host }) => [text(host)],
  ftp: ({ host }) => [text(host)],
  'linux-script': ({ hostName }) => [text(hostName)],
  ldap: ({ serverAddress }) => [ofUrl(text(serverAddress))],
  webhook: ({ fullUrl }) => [ofUrl(text(fullUrl))],
  'ops-genie': ({ apiUrl, proxyUrl }) => [apiUrl, proxyUrl].filter(isSet).map((url) => ofUrl(text(url))),
  elasticsearch: ({ elasticHostList }) => ofList(elasticHostList),
  rabbitMq: ({ hostPortList }) => ofList(hostPortList),
  snmp: ({ connectionString }) => [text(/^(?:udp|tcp):(.+)\/\d+$/.exec(text(connectionString))?.[1])],
  kafka: ({ bootstrapServers, propertiesMap }) => {
    const property = (propertiesMap as Record<string, { value?: unknown }> | null | undefined)?.[
      'bootstrap.servers'
    ]?.value;
    return [bootstrapServers, property]
      .filter(isSet)
      .flatMap((servers) => text(servers).split(','))
      .map((server) => ofUrl(`kafka://${server.trim()}`));
  },
  database: ({ jdbcUrl, host }) => {
    const parsed = isSet(jdbcUrl) ? parseJdbcUrl(text(jdbcUrl)) : undefined;
    // An SRV name leads to hosts that only DNS knows.
    if (parsed?.srv) throw new Error('the hosts are not known');
    return [...(parsed?.hosts ?? []).map((server) => server.host), ...(isSet(host) ? [text(host)] : [])];
  },
  activeMq: ({ brokerURL }) => {
    const parsed = parseBrokerUrl(text(brokerURL));
    return 'fault' in parsed ? [] : parsed.brokers.map(({ host }) => host);
  },
};

/** Every host that a resolved configuration sends its secrets to; undefined when that cannot be told. */
export function destinationHosts(type: string, config: Config): string[] | undefined {
  try {
    const hosts = hostsByType[type]?.(config).map(normaliseHost);
    return hosts && hosts.length > 0 && hosts.every((host) => host !== '') ? hosts : undefined;
  } catch {
    return undefined;
  }
}

/** Whether every host is matched by one of the globs (`*` stands for any number of characters). */
export function areAllowed(hosts: readonly string[] | undefined, globs: readonly string[]): boolean {
  const patterns = globs.map((glob) => [...normaliseHost(glob).toLowerCase()]);
  const matches = (host: string) => {
    const name = [...host.toLowerCase()];
    return patterns.some((pattern) => matchesStars(pattern, name, (own, other) => own === other));
  };
  return hosts?.every(matches) ?? false;
}

const isSet = (value: unknown) => value !== null && value !== undefined && value !== '';

function text(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw new Error('no host');
  return value;
}

function ofUrl(url: string): string {
  const { hostname } = new URL(url);
  return text(hostname.replace(/^\[(.*)\]$/, '$1'));
}

function ofList(value: unknown): string[] {
  return (value as { host?: unknown }[]).map(({ host }) => text(host));
}
