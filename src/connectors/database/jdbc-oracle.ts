import type { Driver } from './jdbc-driver.ts';
import { type Body, JdbcUrlError } from './jdbc-grammar.ts';

/** The thin driver; its URLs take no parameters. */
export const oracle: Driver = {
  dbType: 'ORACLE',
  prefix: /^jdbc:oracle:thin:/i,
  honoured: [],
  harmless: [],
  refused: ['TNS_ADMIN', 'wallet_location', 'oracle.net.wallet_location', 'token_auth'],
  body: oracleBody,
};

/** `[user/password]@[//|tcps://]host[:port](:SID|/service)`. */
function oracleBody(rest: string): Body {
  const at = rest.lastIndexOf('@');
  if (at < 0) throw new JdbcUrlError('must have the form jdbc:oracle:thin:@host:1521/service');
  const target = rest.slice(at + 1);
  const form =
    /^(tcps:\/\/|tcp:\/\/|\/\/)?(\[[^\]]*\]|[^:/?#[\]()=,]+)(?::(\d+))?(?:([:/])([^:/?#()=,\s]+))?$/i.exec(
      target,
    );
  if (!form)
    throw new JdbcUrlError(
      'must have the form jdbc:oracle:thin:@host:1521:SID or jdbc:oracle:thin:@host:1521/service; descriptors and parameters are not taken',
    );
  const [, scheme, host, port, mark, database] = form;
  if (mark === ':' && port === undefined) throw new JdbcUrlError('must name the port before the SID');
  return {
    hosts: port === undefined ? host! : `${host}:${port}`,
    userInfo: at === 0 ? undefined : oracleUserInfo(rest.slice(0, at)),
    database,
    isSid: mark === ':',
    ...(scheme?.toLowerCase() === 'tcps://' ? { tls: 'demand' as const } : {}),
    parameters: [],
  };
}

/** `user/password`, either in quotes, as user-info. */
function oracleUserInfo(text: string): string {
  const form = /^(?:"([^"]+)"|([^"/@:]+))(?:\/(?:"([^"]*)"|([^"@]*)))?$/.exec(text);
  if (!form) throw new JdbcUrlError('has a log-in that is not user/password');
  const user = form[1] ?? form[2] ?? '';
  const password = form[3] ?? form[4];
  return encodeURIComponent(user) + (password === undefined ? '' : `:${encodeURIComponent(password)}`);
}
