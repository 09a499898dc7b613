import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { AppError } from '../errors.ts';
import { formatAddress, parseAddress } from './address.ts';
import { createEgressPolicy, type EgressOptions } from './egress-policy.ts';

function isOpen(host: string, options: EgressOptions = {}, port: number | undefined = 443, leadsTo = host) {
  const address = parseAddress(leadsTo);
  assert.ok(address, `${leadsTo} was not read as an address`);
  try {
    createEgressPolicy(options).check(host, address, port);
    return true;
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === 'egress_denied', String(error));
    return false;
  }
}

const closedSpellings = [
  '169.254.169.254',
  '169.254.169.254.',
  '0xa9fea9fe',
  '0xA9.0xFE.0xA9.0xFE',
  '2852039166',
  '0251.0376.0251.0376',
  '0251.254.0xa9.254',
  '169.254.43518',
  '169.16689662',
  '::ffff:169.254.169.254',
  '::FFFF:a9fe:a9fe',
  '0:0:0:0:0:ffff:a9fe:a9fe',
  '0:0:0:0:0:ffff:169.254.169.254',
  '[::ffff:169.254.169.254]',
  '::169.254.169.254',
  '::ffff:0:169.254.169.254',
  '64:ff9b::169.254.169.254',
  '64:ff9b::a9fe:a9fe',
  '2002:a9fe:a9fe::1',
  '169.254.0.1',
  '169.254.255.255',
  'fe80::1',
  'fe80::1%eth0',
  '[fe80::1%25eth0]',
  'febf::1',
  'fd00:ec2::254',
  'fd00:0ec2:0:0:0:0:0:0254',
  'fd20:ce::254',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  '0.0.0.0',
  '0',
  '0.1.2.3',
  '::',
  '0:0:0:0:0:0:0:0',
  '::ffff:0.0.0.0',
  '224.0.0.1',
  '239.255.255.250',
  'ff02::1',
  '255.255.255.255',
];

for (const spelling of closedSpellings)
  test(`security.md 8: ${spelling} is closed by default`, () => assert.equal(isOpen(spelling), false));

const openSpellings = [
  '127.0.0.1',
  '::1',
  '10.1.2.3',
  '172.16.0.1',
  '192.168.1.1',
  'fd12:3456::1',
  '192.0.2.1',
  '169.253.255.255',
  '169.255.0.0',
  '100.100.100.201',
  '2001:db8::1',
  '::ffff:10.0.0.1',
  '1.0.0.0',
];

for (const spelling of openSpellings)
  test(`${spelling} is open by default`, () => assert.equal(isOpen(spelling), true));

const notAddresses = [
  'example.com',
  '1.2.3.4.5',
  '256.1.1.1',
  '1.2.3.256',
  '08.1.1.1',
  '1..2.3',
  '',
  '.',
  ':',
  ':::',
  '1:2:3:4:5:6:7',
  '1::2::3',
  '12345::',
  'g::1',
  '4294967296',
  '0x100000000',
  '1.2.3.4:80',
  '::ffff:1.2.3.4.5',
  '1.2.3.4::',
  '::1.2.3.4:5',
];

for (const text of notAddresses)
  test(`'${text}' is no address`, () => assert.equal(parseAddress(text), undefined));

test('an address is dialled in one spelling', () => {
  const format = (text: string) => formatAddress(parseAddress(text)!);
  assert.equal(format('0x7f.1'), '127.0.0.1');
  assert.equal(format('2130706433'), '127.0.0.1');
  assert.equal(format('::1'), '0:0:0:0:0:0:0:1');
  assert.equal(format('2001:DB8::ff'), '2001:db8:0:0:0:0:0:ff');
});

test('the operator opens by block, by address and by host glob', () => {
  assert.equal(isOpen('169.254.169.254', { allow: ['169.254.0.0/16'] }), true);
  assert.equal(isOpen('::ffff:169.254.169.254', { allow: ['169.254.169.254'] }), true);
  assert.equal(isOpen('fe80::1', { allow: ['fe80::/10'] }), true);
  assert.equal(isOpen('Meta.Corp.Example.', { allow: ['*.corp.example'] }, 80, '169.254.1.1'), true);
  assert.equal(isOpen('meta.corp.example.org', { allow: ['*.corp.example'] }, 80, '169.254.1.1'), false);
  assert.equal(isOpen('metaXcorp.example', { allow: ['meta.corp.example'] }, 80, '169.254.1.1'), false);
});

test('allow does not close what is open, deny wins over allow', () => {
  assert.equal(isOpen('192.0.2.1', { allow: ['10.0.0.0/8'] }), true);
  assert.equal(isOpen('10.0.0.1', { deny: ['10.0.0.0/8'] }), false);
  assert.equal(isOpen('::ffff:10.0.0.1', { deny: ['10.0.0.0/8'] }), false);
  assert.equal(isOpen('10.0.0.1', { deny: ['10.0.0.0/8'], allow: ['10.0.0.1'] }), false);
  assert.equal(isOpen('db.evil.example', { deny: ['*.evil.example'] }, 80, '192.0.2.1'), false);
  assert.equal(isOpen('192.0.2.1', { deny: ['192.0.2.1:25'] }, 25), false);
  assert.equal(isOpen('192.0.2.1', { deny: ['192.0.2.1:25'] }, 587), true);
});

test('security.md 8: our own listeners and database are closed, and opened only by an entry with the port', () => {
  const own = [
    { host: '127.0.0.1', port: 8080 },
    { host: '0.0.0.0', port: 8081 },
    { host: 'db.internal', port: 5432 },
  ];
  assert.equal(isOpen('127.0.0.1', { own }, 8080), false);
  assert.equal(isOpen('2130706433', { own }, 8080), false);
  assert.equal(isOpen('::ffff:127.0.0.1', { own }, 8080), false);
  assert.equal(isOpen('localhost', { own }, 8080, '127.0.0.1'), false);
  assert.equal(isOpen('127.0.0.1', { own }, 8079), true);
  assert.equal(isOpen('127.0.0.1', { own, allow: ['127.0.0.0/8'] }, 8080), false);
  assert.equal(isOpen('127.0.0.1', { own, allow: ['127.0.0.1:8080'] }, 8080), true);
  assert.equal(isOpen('127.0.0.1', { own, allow: ['127.0.0.1:8080'], deny: ['127.0.0.1'] }, 8080), false);
  assert.equal(isOpen('127.3.3.3', { own }, 8081), false);
  assert.equal(isOpen('::1', { own }, 8081), false);
  for (const { address } of Object.values(networkInterfaces()).flatMap((entries) => entries ?? []))
    assert.equal(isOpen(address, { own }, 8081), false, address);
  assert.equal(isOpen('DB.internal.', { own }, 5432, '10.0.0.9'), false);
  const policy = createEgressPolicy({ own });
  policy.noteOwn('db.internal', [parseAddress('10.0.0.9')!]);
  assert.throws(() => policy.check('other.name', parseAddress('10.0.0.9')!, 5432));
  policy.check('other.name', parseAddress('10.0.0.9')!, 5433);
});

test('a wrong entry is named, with its variable', () => {
  for (const wrong of [
    '10.0.0.0/33',
    '300.1.1.1',
    'host name',
    'a:99999',
    'fe80::/129',
    '1.2.3.4/x',
    'a:80x',
    'a:0',
    '',
  ])
    assert.throws(() => createEgressPolicy({ allow: [wrong] }), { code: 'invalid_configuration' }, wrong);
  assert.throws(() => createEgressPolicy({ deny: ['10.0.0.0/33'] }), {
    message: /^PLUGBOARD_WORKER_EGRESS_DENY: '10\.0\.0\.0\/33' is no egress entry/,
  });
  createEgressPolicy({
    allow: ['[::1]:80', '::1', 'fe80::/10', 'smtp-1.corp.example:25', 'a:1', 'a:65535', '*'],
  });
});

test('a refusal names the variable that mends it', () => {
  const hintOf = (options: EgressOptions, host: string, port: number): string | undefined => {
    try {
      createEgressPolicy(options).check(host, parseAddress(host)!, port);
    } catch (error) {
      return (error as AppError).details.hint;
    }
    return undefined;
  };
  const own = [{ host: '127.0.0.1', port: 8080 }];
  assert.equal(
    hintOf({}, '169.254.169.254', 80),
    'The operator of the worker can allow it by PLUGBOARD_WORKER_EGRESS_ALLOW.',
  );
  assert.equal(
    hintOf({ own }, '127.0.0.1', 8080),
    'The operator of the worker can allow it by an entry of PLUGBOARD_WORKER_EGRESS_ALLOW that names the port.',
  );
  assert.equal(
    hintOf({ deny: ['10.0.0.0/8'] }, '10.0.0.1', 80),
    'The operator of the worker closes it by PLUGBOARD_WORKER_EGRESS_DENY.',
  );
});
