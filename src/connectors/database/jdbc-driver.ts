import type { DbType } from './db-types.ts';
import type { Body } from './jdbc-grammar.ts';

/** What one driver's URLs look like, and what is made of their parameters. */
export interface Driver {
  dbType: DbType;
  /** Matches what comes before the hosts. */
  prefix: RegExp;
  /** Parameters that have an effect, as the driver spells them. */
  honoured: readonly string[];
  /** Parameters without effect here that cannot lead a secret anywhere; changing them moves nothing. */
  harmless: readonly string[];
  /** Parameters that reach files, classes, other hosts or other ways to log in. */
  refused: readonly string[];
  body(rest: string): Body;
}

/** Timeouts that most drivers know by these names; the connection's own fields say them here. */
export const harmlessTimes = ['connectTimeout', 'socketTimeout', 'loginTimeout', 'queryTimeout'];
