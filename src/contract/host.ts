/** A host in one spelling: lower case, no trailing dot, IPv4 and IPv6 in their canonical form, no brackets. */
export function normaliseHost(host: string): string {
  const bare = host.trim().replace(/^\[(.*)\]$/s, '$1');
  const lower = bare.toLowerCase().replace(/\.$/, '');
  const spelled = URL.parse(`http://${bare.includes(':') ? `[${bare}]` : bare}/`);
  if (!spelled || spelled.username || spelled.port || spelled.pathname !== '/') return lower;
  return spelled.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
}

/** Whether a host is this machine alone: `localhost`, 127.0.0.0/8 or ::1, in any spelling. */
export function isLoopback(host: string): boolean {
  const name = normaliseHost(host);
  return (
    name === 'localhost' ||
    name === '::1' ||
    /^127\.\d+\.\d+\.\d+$/.test(name) ||
    /^::ffff:7f[\da-f]{2}:/.test(name)
  );
}

const label = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
const dnsName = new RegExp(`^${label}(?:\\.${label})*\\.?$`);
const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}$/;

/** Whether a text is a DNS name (international ones included), an IPv4 or an IPv6 address. */
export function isHost(text: string): boolean {
  if (text.length === 0 || text.length > 255) return false;
  if (text.includes(':')) return isIpv6(text.replace(/^\[(.*)\]$/, '$1'));
  // A last label of digits would be taken for an IPv4 address in some other spelling.
  if (/^[\d.]+$/.test(text) || /(^|\.)(0x[0-9a-f]*|\d+)\.?$/i.test(text))
    return ipv4.test(text) && !text.endsWith('.');
  if (dnsName.test(text)) return true;
  if (!/[^\x00-\x7f]/.test(text)) return false;
  const ascii = URL.parse(`http://${text}/`);
  return (
    ascii !== null && ascii.pathname === '/' && !/[@:/?#\\\s%]/.test(text) && dnsName.test(ascii.hostname)
  );
}

/** Whether a text is an IPv6 address, without brackets; a zone (`%eth0`) may follow. */
export function isIpv6(text: string): boolean {
  const [address, zone] = text.split('%', 2) as [string, string?];
  if (zone !== undefined && !/^[A-Za-z0-9._-]{1,32}$/.test(zone)) return false;
  return /^[0-9A-Fa-f:.]+$/.test(address) && URL.canParse(`http://[${address}]/`);
}
