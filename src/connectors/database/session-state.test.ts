import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertLinear, shortestMs } from '../../contract/testing/linear.ts';
import { mayLeaveState } from './session-state.ts';

test('what reads or changes rows or calls a procedure leaves a session as it was', () => {
  for (const sql of [
    'select 1',
    '  (SELECT 1)',
    '-- a note\n/* and another */ select 1',
    '# a note\nselect 1',
    'insert into settings (name) values (1)',
    "insert into notes values ('into the temple; set role, use it')",
    'update t set x = 1',
    'with a as (select 1) select * from a',
    'delete from files',
    'merge into t using s on (1 = 1) when matched then update set x = 1',
    'call refresh(1)',
    'exec refresh @p = 1',
    'begin refresh(:1); end;',
    'select pg_advisory_xact_lock(1)',
  ])
    assert.equal(mayLeaveState(sql), false, sql);
});

test('what is meant for the session, or leaves something there, is known by its text', () => {
  for (const sql of [
    'set role reader',
    '/* a note */ SET time_zone = "+02:00"',
    '-- a note\n-- another\nuse other',
    '; use other',
    'reset all',
    'discard all',
    'alter session set nls_date_format = 1',
    'create temporary table t (id integer)',
    'declare_nothing',
    'lock tables t read',
    'prepare p as select 1',
    'listen channel',
    "/*!40101 SET NAMES 'latin1' */",
    '/*M!100100 SET @x = 1 */',
    '/* /* */ select */ set role reader',
    '/* without an end',
    'select 1 into temp t',
    'select 1 as one into #t',
    'select 1 into @one',
    'select @one := 1',
    "select set_config('search_path', 'other', false)",
    'select pg_try_advisory_lock(1)',
    "select get_lock('one', 1)",
    "execute immediate 'set @x = 1'",
    'delete jar x.jar',
    '',
  ])
    assert.equal(mayLeaveState(sql), true, sql);
});

test('a long statement is judged in time that grows with its length', () => {
  for (const text of ['/**/', '/* */ ', '-- \n', '((', 'into ', 'select @', 'a '])
    assertLinear(text, (length) => {
      const sql = text.repeat(length);
      return shortestMs(() => mayLeaveState(sql));
    });
});
