import { createServer, type Socket } from 'node:net';
import { BerReader, elementSize, encode, encodeInteger, encodeOctets } from '../src/connectors/snmp/ber.ts';
import { matches, readFilter } from './directory-filter.ts';
import { brokenOnPurpose, host, listen, newPassword, type Target } from './target.ts';

/** An entry of the directory; names of attributes in lower case. */
export interface Entry {
  dn: string;
  attributes: Record<string, string[]>;
  password?: string;
}

const base = 'dc=demo,dc=example';
const people = `ou=people,${base}`;
/** The password of everybody in the directory, for trying out `authenticate`. */
const peoplePassword = 'demo-password';
const maxMessageBytes = 1024 * 1024;

/** Operations of RFC 4511, 4.1.1 and what follows. */
const operations = { bind: 0x60, unbind: 0x42, search: 0x63, abandon: 0x50, extended: 0x77 } as const;
const results = {
  success: 0,
  protocolError: 2,
  sizeLimitExceeded: 4,
  authMethodNotSupported: 7,
  noSuchObject: 32,
  invalidCredentials: 49,
  insufficientAccessRights: 50,
  unwillingToPerform: 53,
} as const;
const simpleAuthentication = 0x80;
const enumerated = 0x0a;
const boolean = 0x01;
const scopes = ['base', 'one', 'sub'] as const;

/** An LDAP directory (RFC 4511) that is only read: simple bind and search, after a log-in alone. */
export async function startDirectory(): Promise<Target> {
  const reader = { dn: `cn=reader,${base}`, password: newPassword() };
  const entries: Entry[] = [
    entry(base, { objectClass: ['domain'], dc: ['demo'] }),
    entry(people, { objectClass: ['organizationalUnit'], ou: ['people'] }),
    entry(reader.dn, { objectClass: ['applicationProcess'], cn: ['reader'] }, reader.password),
    // Nobody is told this one, so the connection that logs in as it does so in vain.
    entry(`cn=reporting,${base}`, { objectClass: ['applicationProcess'], cn: ['reporting'] }, newPassword()),
    person('ada', 'Ada', 'Lovelace'),
    person('grace', 'Grace', 'Hopper'),
    person('alan', 'Alan', 'Turing'),
    person('edsger', 'Edsger', 'Dijkstra'),
  ];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    serveClient(socket, entries);
  });
  const port = await listen(server);
  const directory = { type: 'ldap', serverAddress: `ldap://${host}:${port}`, baseDn: people } as const;
  return {
    connections: [
      {
        ...directory,
        name: 'staff-directory',
        description: `Who may log in. Try authenticate with ada, grace, alan or edsger and "${peoplePassword}".`,
        username: reader.dn,
        password: reader.password,
      },
      {
        ...directory,
        name: brokenOnPurpose,
        description: 'Broken on purpose: its password is wrong. Its test shows at which stage it fails.',
        username: `cn=reporting,${base}`,
        password: 'not-the-password',
      },
    ],
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function person(uid: string, givenName: string, sn: string): Entry {
  return entry(
    `uid=${uid},${people}`,
    {
      objectClass: ['inetOrgPerson'],
      uid: [uid],
      givenName: [givenName],
      sn: [sn],
      cn: [`${givenName} ${sn}`],
      mail: [`${uid}@demo.example`],
    },
    peoplePassword,
  );
}

function entry(dn: string, attributes: Record<string, string[]>, password?: string): Entry {
  return { dn, attributes, ...(password === undefined ? {} : { password }) };
}

function serveClient(socket: Socket, entries: readonly Entry[]): void {
  let buffer: Buffer = Buffer.alloc(0);
  let isLoggedIn = false;

  const answer = (id: number, operation: number, code: number, message = '') =>
    socket.write(
      ldapMessage(
        id,
        encode(operation, encodeInteger(code, enumerated), encodeOctets(''), encodeOctets(message)),
      ),
    );

  const bind = (id: number, request: BerReader) => {
    request.integer();
    const name = request.octets().toString();
    const { tag, contents } = request.next();
    if (tag !== simpleAuthentication) return answer(id, 0x61, results.authMethodNotSupported);
    const known = entries.find(({ dn }) => normaliseDn(dn) === normaliseDn(name));
    isLoggedIn = known?.password !== undefined && known.password === contents.toString();
    if (isLoggedIn) answer(id, 0x61, results.success);
    else answer(id, 0x61, results.invalidCredentials, 'invalid credentials');
  };

  const search = (id: number, request: BerReader) => {
    const baseDn = normaliseDn(request.octets().toString());
    const scope = scopes[request.next(enumerated).contents[0] ?? 2] ?? 'sub';
    request.next(enumerated);
    const sizeLimit = request.integer();
    request.integer();
    request.next(boolean);
    const filter = readFilter(request);
    const wanted: string[] = [];
    for (const list = request.inner(); !list.isAtEnd; ) wanted.push(list.octets().toString());
    if (!isLoggedIn) return answer(id, 0x65, results.insufficientAccessRights, 'log in first');
    if (!entries.some(({ dn }) => normaliseDn(dn) === baseDn)) return answer(id, 0x65, results.noSuchObject);
    const found = entries.filter((one) => isInScope(one, baseDn, scope) && matches(filter, one));
    const told = sizeLimit > 0 ? found.slice(0, sizeLimit) : found;
    for (const one of told) socket.write(ldapMessage(id, searchEntry(one, wanted)));
    answer(id, 0x65, told.length < found.length ? results.sizeLimitExceeded : results.success);
  };

  const serve = (message: BerReader) => {
    const id = message.integer();
    const { tag, contents } = message.next();
    if (tag === operations.bind) bind(id, new BerReader(contents));
    else if (tag === operations.search) search(id, new BerReader(contents));
    else if (tag === operations.unbind) socket.end();
    else if (tag === operations.extended) answer(id, 0x78, results.protocolError, 'no extended operation');
    // The answer to an operation has the tag behind it (RFC 4511, 4.2 and what follows).
    else if (tag !== operations.abandon)
      answer(id, (tag & 0x1f) + 0x61, results.unwillingToPerform, 'this directory is only read');
  };

  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    try {
      for (let size = elementSize(buffer); size && buffer.length >= size.total; size = elementSize(buffer)) {
        const message = new BerReader(buffer.subarray(0, size.total)).inner();
        buffer = buffer.subarray(size.total);
        serve(message);
      }
      if (buffer.length > maxMessageBytes) socket.destroy();
    } catch {
      // What is no LDAP is not answered.
      socket.destroy();
    }
  });
}

function ldapMessage(id: number, operation: Buffer): Buffer {
  return encode(0x30, encodeInteger(id), operation);
}

function searchEntry({ dn, attributes }: Entry, wanted: readonly string[]): Buffer {
  const names = wanted.map((name) => name.toLowerCase());
  // "1.1" asks for none (RFC 4511, 4.5.1.8).
  const all = names.length === 0 || names.includes('*');
  const told = Object.entries(attributes).filter(([name]) => all || names.includes(name.toLowerCase()));
  return encode(
    0x64,
    encodeOctets(dn),
    encode(
      0x30,
      ...told.map(([name, values]) =>
        encode(0x30, encodeOctets(name), encode(0x31, ...values.map((value) => encodeOctets(value)))),
      ),
    ),
  );
}

function isInScope({ dn }: Entry, baseDn: string, scope: (typeof scopes)[number]): boolean {
  const own = normaliseDn(dn);
  if (scope === 'base') return own === baseDn;
  if (scope === 'one') return own.slice(own.indexOf(',') + 1) === baseDn;
  return own === baseDn || own.endsWith(`,${baseDn}`);
}

/** No name of this directory needs escapes, so names are compared as texts. */
function normaliseDn(dn: string): string {
  return dn
    .toLowerCase()
    .replace(/\s*([,=])\s*/g, '$1')
    .trim();
}
