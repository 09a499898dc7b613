export const dbTypes = [
  'ORACLE',
  'MYSQL',
  'POSTGRES',
  'SQL_SERVER',
  'SYBASE',
  'DB2',
  'APACHE_HIVE',
  'APACHE_IMPALA',
  'MONGODB',
  'TRINO',
] as const;
export type DbType = (typeof dbTypes)[number];

/** Port of a database server where none is named. */
export const defaultPorts: Readonly<Record<DbType, number>> = {
  ORACLE: 1521,
  MYSQL: 3306,
  POSTGRES: 5432,
  SQL_SERVER: 1433,
  SYBASE: 5000,
  DB2: 50000,
  APACHE_HIVE: 10000,
  APACHE_IMPALA: 21050,
  MONGODB: 27017,
  TRINO: 8080,
};
