/** What is used of the package `odbc`, which is installed by whoever needs it. */
export interface OdbcModule {
  connect(options: { connectionString: string; loginTimeout: number }): Promise<OdbcConnection>;
}

export interface OdbcConnection {
  query(sql: string, parameters: OdbcValue[]): Promise<OdbcResult>;
  query(
    sql: string,
    parameters: OdbcValue[],
    options: { cursor: true; fetchSize: number },
  ): Promise<OdbcCursor | OdbcResult>;
  close(): Promise<void>;
}

export type OdbcValue = string | number | null;
export interface OdbcCursor {
  readonly noData: boolean;
  fetch(): Promise<OdbcResult>;
  close(): Promise<void>;
}
export type OdbcResult = Record<string, unknown>[] & {
  count: number;
  columns?: { name: string; dataTypeName: string }[];
};
