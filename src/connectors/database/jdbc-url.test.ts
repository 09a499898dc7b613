import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { credentialParts } from '../../contract/credential-url.ts';
import { JdbcUrlError } from './jdbc-grammar.ts';
import { destinationsOfUrl, parseJdbcUrl } from './jdbc-url.ts';

const forms: [string, Partial<ReturnType<typeof parseJdbcUrl>>][] = [
  ['jdbc:postgresql://h:5432/db', { dbType: 'POSTGRES', hosts: [{ host: 'h', port: 5432 }], database: 'db' }],
  ['jdbc:postgresql://h', { hosts: [{ host: 'h', port: 5432 }], database: undefined }],
  ['jdbc:postgresql://[::1]:1/db', { hosts: [{ host: '::1', port: 1 }] }],
  [
    'jdbc:postgresql://a,b:2/my%20db?sslmode=verify-full&user=u&password=p%26q&currentSchema=s',
    {
      hosts: [
        { host: 'a', port: 5432 },
        { host: 'b', port: 2 },
      ],
      database: 'my db',
      user: 'u',
      password: 'p&q',
      tls: 'demand',
      verify: true,
      parameters: { currentSchema: 's' },
    },
  ],
  ['jdbc:mysql://u:p%40q@h/db?useSSL=false', { dbType: 'MYSQL', user: 'u', password: 'p@q', tls: 'none' }],
  ['jdbc:mariadb://h/db?sslMode=VERIFY_IDENTITY', { dbType: 'MYSQL', tls: 'demand', verify: true }],
  ['jdbc:oracle:thin:@h:1521:SID', { dbType: 'ORACLE', database: 'SID', isSid: true }],
  ['jdbc:oracle:thin:@h:1521/service', { database: 'service', isSid: false }],
  ['jdbc:oracle:thin:u/p@//h/service', { user: 'u', password: 'p', hosts: [{ host: 'h', port: 1521 }] }],
  ['jdbc:oracle:thin:u/"p@q"@tcps://h:2484/s', { password: 'p@q', tls: 'demand' }],
  [
    'jdbc:sqlserver://h:1433;databaseName=db;encrypt=true;trustServerCertificate=true;password={a;}}b}',
    { dbType: 'SQL_SERVER', database: 'db', tls: 'demand', verify: false, password: 'a;}b' },
  ],
  ['jdbc:mongodb://h1,h2:27018/db', { dbType: 'MONGODB', srv: false, database: 'db' }],
  ['mongodb://u:p@h/db?authSource=admin', { user: 'u', password: 'p', parameters: { authSource: 'admin' } }],
  ['mongodb+srv://h/db', { srv: true, tls: 'demand' }],
  [
    'jdbc:trino://h/cat/sch?SSL=true',
    { dbType: 'TRINO', database: 'cat/sch', hosts: [{ host: 'h', port: 443 }] },
  ],
  [
    'jdbc:hive2://h/db;ssl=true',
    { dbType: 'APACHE_HIVE', hosts: [{ host: 'h', port: 10000 }], tls: 'demand' },
  ],
  ['jdbc:impala://h/db;UID=u;PWD=p', { dbType: 'APACHE_IMPALA', user: 'u', password: 'p' }],
  ['jdbc:db2://h/db:user=u;password=p;', { dbType: 'DB2', database: 'db', user: 'u', password: 'p' }],
  ['jdbc:jtds:sybase://h/db;ssl=require', { dbType: 'SYBASE', tls: 'demand', verify: false }],
  ['jdbc:sybase:Tds:h:5001/db?USER=u', { dbType: 'SYBASE', hosts: [{ host: 'h', port: 5001 }], user: 'u' }],
];

describe('forms', () => {
  for (const [url, expected] of forms)
    test(url, () => {
      const parsed = parseJdbcUrl(url);
      assert.deepEqual({ ...parsed, ...expected }, parsed);
    });

  test('a harmless or unknown parameter is kept without effect', () => {
    const { ignored } = parseJdbcUrl('jdbc:postgresql://h/db?connectTimeout=5&unheard=x');
    assert.deepEqual(ignored, [
      { name: 'connectTimeout', value: '5' },
      { name: 'unheard', value: 'x' },
    ]);
  });
});

describe('refused (security 9)', () => {
  const refused = [
    'jdbc:mysql://h/db?allowLoadLocalInfile=true',
    'jdbc:mysql://h/db?ALLOWLOADLOCALINFILE=true',
    'jdbc:mysql://h/db?%61llowLoadLocalInfile=true',
    'jdbc:mysql://h/db?autoDeserialize=true&queryInterceptors=x.Y',
    'jdbc:mysql://(host=h,allowLoadLocalInfile=true)/db',
    'jdbc:mysql://address=(host=h)(port=1)/db',
    'jdbc:mysql://h/db?socksProxyHost=evil',
    'jdbc:mysql://h#@evil/db',
    'jdbc:mysql://u@evil@h/db',
    'jdbc:mysql://h/db@evil',
    'jdbc:postgresql://h/db?socketFactory=x.Y&socketFactoryArg=http://evil',
    'jdbc:postgresql://h/db?sslfactory=x.Y',
    'jdbc:postgresql://h/db?loggerFile=/etc/x',
    'jdbc:postgresql://h/db?PGHOST=evil',
    'jdbc:postgresql://h/db?host=evil',
    'jdbc:postgresql://h/db?user=a&user=b',
    'jdbc:postgresql://h/db?sslmode=require&SSLMODE=disable',
    'jdbc:postgresql://h@evil/db',
    'jdbc:postgresql://h\\@evil/db',
    'jdbc:postgresql://h/db#x',
    'jdbc:postgresql://h/a/b',
    'jdbc:postgresql://h/db?a',
    'jdbc:postgresql://h/db?a=%zz',
    'jdbc:postgresql://h/db?a=%00',
    'jdbc:postgresql://h:0/db',
    'jdbc:postgresql://h:65536/db',
    'jdbc:postgresql://h:5432:1/db',
    'jdbc:postgresql:///db',
    'jdbc:postgresql://h,/db',
    'jdbc:postgresql://0x7f.1/db',
    'jdbc:postgresql://2130706433/db',
    'jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(HOST=evil)))',
    'jdbc:oracle:thin:@h:1521/s?TNS_ADMIN=/x',
    'jdbc:oracle:thin:@ldap://evil/x',
    'jdbc:oracle:oci:@h:1521/s',
    'jdbc:sqlserver://h\\instance',
    'jdbc:sqlserver://h;serverName=evil',
    'jdbc:sqlserver://h;databaseName={a};b}',
    'jdbc:sqlserver://h;integratedSecurity=true',
    'jdbc:db2://h/db:clientRerouteServerListJNDIName=ldap://evil/x;',
    'jdbc:hive2://h/db;principal=x',
    'jdbc:hive2://h/db;serviceDiscoveryMode=zooKeeper',
    'mongodb://h/db?authMechanismProperties=X:y',
    'mongodb://h/db?proxyHost=evil',
    'mongodb+srv://h:27017/db',
    'mongodb+srv://a,b/db',
    'jdbc:trino://h?externalAuthentication=true',
    'jdbc:h2:mem:x;INIT=RUNSCRIPT',
    'jdbc:postgresql://h/db\n',
    'postgresql://h/db',
    '',
  ];
  for (const url of refused)
    test(JSON.stringify(url), () => assert.throws(() => parseJdbcUrl(url), JdbcUrlError));

  test('no message holds a value', () => {
    for (const url of [
      'jdbc:mysql://h/db?socketFactory=s3cr3t',
      'jdbc:postgresql://h/db?password=s3cr3t&password=s3cr3t',
    ])
      assert.throws(
        () => parseJdbcUrl(url),
        (error: Error) => error instanceof JdbcUrlError && !error.message.includes('s3cr3t'),
      );
  });

  test('an arbitrary text is read or refused, and what is read as password is masked', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        'jdbc:',
        'postgresql://',
        'mysql://',
        'sqlserver://',
        'oracle:thin:',
        'db2://',
        'mongodb://',
        'h',
        '@',
        '/',
        ':',
        ';',
        '?',
        '&',
        '=',
        '#',
        '{',
        '}',
        'user',
        'password',
        'p',
        '%40',
        ',',
        '1521',
        '"',
      ),
      fc.string({ maxLength: 4 }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...forms.map(([url]) => url)),
        fc.array(piece, { maxLength: 8 }),
        fc.nat(60),
        (url, pieces, at) => {
          const text = url.slice(0, at) + pieces.join('') + url.slice(at);
          let parsed: ReturnType<typeof parseJdbcUrl>;
          try {
            parsed = parseJdbcUrl(text);
          } catch (error) {
            assert.ok(error instanceof JdbcUrlError, String(error));
            return;
          }
          assert.ok(destinationsOfUrl(text).length > 0);
          if (!parsed.password) return;
          const hidden = credentialParts(text, false).map((part) =>
            part.decode(text.slice(part.start, part.end)),
          );
          assert.ok(hidden.includes(parsed.password), `${text}: the password is not among what is masked`);
        },
      ),
      { numRuns: 2000, seed: 99 },
    );
  });
});

describe('destinations', () => {
  const moves = (before: string, after: string) => {
    const known = new Set(destinationsOfUrl(before));
    return destinationsOfUrl(after).some((place) => !known.has(place));
  };
  const url = 'jdbc:postgresql://h:5432/db?sslmode=verify-full&password=a';

  test('another password, spelling or harmless parameter is no move', () => {
    assert.ok(!moves(url, 'jdbc:postgresql://H./db?password=b&sslmode=verify-full&connectTimeout=1'));
    assert.ok(!moves('jdbc:postgresql://a,b/db', 'jdbc:postgresql://b/db'));
    assert.ok(!moves('jdbc:postgresql://h/db', url), 'raising protection');
  });

  test('another host, port, database or parameter, and less protection, is one', () => {
    for (const after of [
      url.replace('//h', '//evil'),
      url.replace('5432', '5433'),
      url.replace('/db', '/other'),
      url.replace('//h:5432', '//h:5432,evil:1'),
      url.replace('verify-full', 'require'),
      url.replace('verify-full', 'verify-ca'),
      url.replace('sslmode=verify-full&', ''),
      `${url}&unheard=1`,
      `${url}&currentSchema=x`,
    ])
      assert.ok(moves(url, after), after);
    assert.ok(moves('jdbc:postgresql://h/db', 'jdbc:postgresql://h/db?sslmode=disable'));
  });
});
