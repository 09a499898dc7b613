import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { definitions } from '../../src/connectors/definitions.ts';
import { bodyWith, fullBody, sampleValue } from '../../src/connectors/sample-body.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { credentialParts } from '../../src/contract/credential-url.ts';
import { allFields } from '../../src/contract/definition-schema.ts';
import { secretPlaces } from '../../src/contract/secret-places.ts';
import { completeConfig, parseConnection } from '../../src/contract/validation.ts';

type Body = Record<string, unknown>;

/** A secret that is nowhere else in the world, and where it was put. */
export interface Canary {
  place: string;
  /** Letters and digits, so that URLs, JSON and headers carry it as it is. */
  core: string;
  /** What was stored: the core and characters that encodings change. */
  value: string;
}

export interface CanaryConnection {
  definition: ConnectionType;
  name: string;
  body: Body;
  canaries: Canary[];
}

export function newCanary(place: string): Canary {
  const core = `cnry${randomBytes(12).toString('hex')}`;
  return { place, core, value: `${core}/+&=;` };
}

/** Values that hold a secret, of fields whose samples hold none. */
const withSecret: Readonly<Record<string, unknown>> = {
  brokerURL: 'tcp://user:some-password@target.example.com:61616',
  proxyUrl: 'http://user:some-password@proxy.example.com:3128',
  connectionFactoryClientProperties: { 'client.password': 'some-password' },
};

/** For each type, connections that together have a canary in every place for a secret. */
export function canaryConnections(): CanaryConnection[] {
  const made: CanaryConnection[] = [];
  for (const definition of Object.values(definitions) as unknown as ConnectionType[]) {
    const secretFields = Object.entries(allFields(definition))
      .filter(([, field]) => field['x-secret'] !== undefined)
      .map(([name]) => name);
    const covered = new Set<string>();
    const add = (sample: Body) => {
      const connection = withCanaries(definition, sample, `${definition.type} ${made.length}`);
      for (const { place } of connection.canaries) covered.add(place.split(/[.[]/)[0]!);
      made.push(connection);
    };
    if (secretFields.length > 0) add(fullBody(definition));
    for (const field of secretFields)
      if (!covered.has(field))
        add(bodyWith(definition, { [field]: withSecret[field] ?? sampleValue(definition, field) }));
    const left = secretFields.filter((field) => !covered.has(field));
    if (left.length > 0) throw new Error(`no canary in ${definition.type} ${left.join(', ')}`);
  }
  return made;
}

/** The complete form of a body, with each of its secrets replaced by a canary. */
export function withCanaries(definition: ConnectionType, sample: Body, name: string): CanaryConnection {
  // The samples name environments that are not there.
  const { environments: _, selectedEnvironmentId: __, ...rest } = sample;
  const parsed = parseConnection(definition, { ...rest, name });
  if (!parsed.ok) throw new Error(`${definition.type}: ${JSON.stringify(parsed.faults)}`);
  const body = completeConfig(definition, parsed.config) as Body;
  const canaries: Canary[] = [];
  for (const place of secretPlaces(definition, structuredClone(body))) {
    const canary = newCanary(place.path.join('.'));
    const holder = place.path.slice(0, -1).reduce<unknown>((at, step) => (at as Body)[step], body) as Body;
    const last = place.path.at(-1)!;
    if (place.kind === 'url') {
      const parts = credentialParts(place.value, place.wholePath).filter(({ secret }) => secret);
      if (parts.length === 0) continue;
      holder[last] = [...parts]
        .reverse()
        .reduce(
          (url, part) => url.slice(0, part.start) + encodeURIComponent(canary.value) + url.slice(part.end),
          place.value,
        );
    } else if (isBase64(definition, place.path)) holder[last] = btoa(canary.value);
    else if (/password="[^"]*"/.test(place.value))
      holder[last] = place.value.replace(/password="[^"]*"/, `password="${canary.core}"`);
    else holder[last] = canary.value;
    canaries.push(canary);
  }
  return { definition, name, body, canaries };
}

function isBase64(definition: ConnectionType, path: readonly (string | number)[]): boolean {
  return path.length === 1 && allFields(definition)[String(path[0])]?.['format'] === 'base64';
}

/** How a core may be written: as it is, in hexadecimal, percent-encoded, in base64 at any offset. */
export function formsOf(core: string): string[] {
  const bytes = Buffer.from(core);
  const hex = bytes.toString('hex');
  const forms = [core, hex, hex.toUpperCase(), hex.replaceAll(/../g, '%$&')];
  for (const offset of [0, 1, 2]) {
    const shifted = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64');
    // The characters at both ends also hold bits of what stands beside the core.
    const inner = shifted.slice(offset === 0 ? 0 : offset + 1, Math.floor(((offset + bytes.length) * 8) / 6));
    forms.push(inner, inner.replaceAll('+', '-').replaceAll('/', '_'));
  }
  return [...new Set(forms)];
}

/** Finds canaries in texts; answers where each was found. */
export function canarySearch(canaries: readonly Canary[]) {
  const owners = new Map<string, string>();
  for (const { core, place } of canaries) for (const form of formsOf(core)) owners.set(form, place);
  const pattern = new RegExp(
    [...owners.keys()].map((form) => form.replaceAll(/[+/]/g, '\\$&')).join('|'),
    'g',
  );
  return (text: string): string[] =>
    [...text.matchAll(pattern)].map(
      ({ 0: found, index }) =>
        `${owners.get(found)}: …${text.slice(Math.max(0, index - 60), index + found.length + 20)}…`,
    );
}

const searchProgram = `
const { readdirSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { directory, forms } = JSON.parse(readFileSync(0, 'utf8'));
const found = [];
const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
for (const entry of files) {
  const path = join(entry.parentPath, entry.name);
  const bytes = readFileSync(path);
  for (const form of forms)
    for (const needle of [Buffer.from(form), Buffer.from(form, 'utf16le')])
      if (bytes.includes(needle)) found.push(path + ' holds ' + form);
}
console.log(JSON.stringify({ files: files.map((entry) => entry.name), found }));`;

/**
 * Searches every byte of every file of a directory. In a process of its own: a descriptor of the
 * database that is closed in the process which owns it would drop that process's lock.
 */
export async function searchFiles(
  directory: string,
  canaries: readonly Canary[],
): Promise<{ files: string[]; found: string[] }> {
  const child = spawn(process.execPath, ['-e', searchProgram], { stdio: ['pipe', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString();
  });
  child.stdin.end(JSON.stringify({ directory, forms: canaries.flatMap(({ core }) => formsOf(core)) }));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`the search ended with ${code}`);
  return JSON.parse(printed) as { files: string[]; found: string[] };
}
