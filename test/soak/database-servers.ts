// What the soak of databases needs to know of each server: how it starts, how it is written to, how it is asked.
export interface DatabaseServer {
  name: "postgres" | "mariadb" | "redis";
  /** Heading of its recipes in docs/CONSISTENCY.md. */
  heading: string;
  /** User of the server in the container. */
  user: string;
  /** Where its volume is mounted. */
  dataFolder: string;
  stopSignal: string;
  /** Shell: makes an empty data folder into a database with the tables of the test, and becomes the server. */
  start: string;
  /** Shell: the same with no tables, to load a dump into. */
  startEmpty: string;
  /** A client that reads statements on its standard input from `host`, and writes answers at once. */
  client: (host: string) => string;
  /** One transaction of writer `$writer`: adds to its sum and to the ledger. Once it is acknowledged, the ledger's id is answered. */
  transaction: string;
  /** In the container: ends with 0 once it answers. */
  ready: readonly string[];
  /** In the container: its own check of all that it has; ends with another status than 0, or answers `badCheck`, where it finds damage. */
  check: readonly string[];
  goodCheck: RegExp;
  /** In the container: answers "0" where each transaction is there whole or not at all. */
  torn: readonly string[];
  /** In the container: answers the ids of the ledger, one a line. */
  ids: readonly string[];
}

/** As in the recipes: without the name, a client takes that of the container's user. */
const mariadbRoot = '--user=root --password="$(cat /run/secrets/root_password)"';

/** Both of SQL have the same tables. */
const torn = "SELECT count(*) FROM sum WHERE n <> (SELECT count(*) FROM ledger WHERE ledger.writer = sum.writer)";
const ids = "SELECT id FROM ledger";

const askPostgres = (sql: string): string[] => [
  ...["psql", "--username", "postgres", "--tuples-only", "--no-align", "--quiet"],
  ...["--command", sql, "shop"],
];

const askMariadb = (sql: string): string[] => [
  ...["sh", "-c", `mariadb ${mariadbRoot} --batch --skip-column-names --execute "$1" shop`],
  ...["sh", sql],
];

const postgresStart = (tables: string): string => `
set -e
if ! [ -s "$PGDATA/PG_VERSION" ]; then
  initdb --username postgres --auth trust --data-checksums --encoding UTF8 --no-instructions
  echo "host all all all trust" >> "$PGDATA/pg_hba.conf"
  ${tables === "" ? "" : `pg_ctl start --wait --options "-c listen_addresses= -c unix_socket_directories=/tmp"; createdb --username postgres shop; psql --username postgres --command '${tables}' shop; pg_ctl stop --wait`}
fi
exec postgres -c "listen_addresses=*" -c unix_socket_directories=/tmp`;

export const postgres: DatabaseServer = {
  name: "postgres",
  heading: "PostgreSQL",
  user: "postgres",
  dataFolder: "/var/lib/postgresql/data",
  stopSignal: "SIGINT",
  start: postgresStart(
    "CREATE TABLE ledger (id bigserial PRIMARY KEY, writer int NOT NULL); CREATE TABLE sum (writer int PRIMARY KEY, n bigint NOT NULL); INSERT INTO sum VALUES (1, 0), (2, 0);",
  ),
  startEmpty: postgresStart(""),
  client: (host) =>
    `PGCONNECT_TIMEOUT=5 psql --no-psqlrc --tuples-only --no-align --quiet --set ON_ERROR_STOP=1 --username postgres --host ${host} shop`,
  // psql shows the row only when the server has said that the statement, and with it the transaction, is committed.
  transaction:
    "WITH more AS (UPDATE sum SET n = n + 1 WHERE writer = $writer) INSERT INTO ledger (writer) VALUES ($writer) RETURNING id;",
  ready: ["pg_isready", "--username", "postgres"],
  check: [
    ...["pg_amcheck", "--username", "postgres", "--all", "--install-missing", "--heapallindexed"],
    ...["--parent-check", "--rootdescend"],
  ],
  goodCheck: /^$/,
  torn: askPostgres(torn),
  ids: askPostgres(ids),
};

const mariadbStart = (tables: string): string => `
set -e
password="$(cat /run/secrets/root_password)"
if ! [ -d /var/lib/mysql/mysql ]; then
  mariadb-install-db --user=mysql --auth-root-authentication-method=normal --skip-test-db --datadir=/var/lib/mysql > /dev/null
fi
cat > /tmp/init.sql <<EOF
ALTER USER root@localhost IDENTIFIED BY '$password';
${tables}
EOF
exec mariadbd --user=mysql --datadir=/var/lib/mysql --init-file=/tmp/init.sql --innodb-buffer-pool-size=32M`;

export const mariadb: DatabaseServer = {
  name: "mariadb",
  heading: "MariaDB",
  user: "mysql",
  dataFolder: "/var/lib/mysql",
  stopSignal: "SIGTERM",
  start: mariadbStart(
    [
      "CREATE DATABASE IF NOT EXISTS shop;",
      "CREATE TABLE IF NOT EXISTS shop.ledger (id bigint AUTO_INCREMENT PRIMARY KEY, writer int NOT NULL) ENGINE=InnoDB;",
      "CREATE TABLE IF NOT EXISTS shop.sum (writer int PRIMARY KEY, n bigint NOT NULL) ENGINE=InnoDB;",
      "INSERT IGNORE INTO shop.sum VALUES (1, 0), (2, 0);",
      "CREATE USER IF NOT EXISTS writer@'%';",
      "GRANT ALL ON shop.* TO writer@'%';",
    ].join("\n"),
  ),
  startEmpty: mariadbStart(""),
  client: (host) =>
    `mariadb --unbuffered --batch --skip-column-names --skip-reconnect --connect-timeout=5 --user=writer --host=${host} shop`,
  transaction:
    "BEGIN; UPDATE sum SET n = n + 1 WHERE writer = $writer; INSERT INTO ledger (writer) VALUES ($writer); COMMIT; SELECT LAST_INSERT_ID();",
  ready: ["sh", "-c", `mariadb ${mariadbRoot} --execute "SELECT 1"`],
  check: [
    "sh",
    "-c",
    `mariadb ${mariadbRoot} --batch --skip-column-names --execute "CHECK TABLE ledger, sum EXTENDED" shop`,
  ],
  goodCheck: /^shop\.ledger\tcheck\tstatus\tOK\nshop\.sum\tcheck\tstatus\tOK$/,
  torn: askMariadb(torn),
  ids: askMariadb(ids),
};

const redisStart = "exec redis-server --dir /data --appendonly yes --appendfsync always --protected-mode no";

export const redis: DatabaseServer = {
  name: "redis",
  heading: "Redis",
  user: "redis",
  dataFolder: "/data",
  stopSignal: "SIGTERM",
  start: redisStart,
  startEmpty: redisStart,
  client: (host) => `redis-cli -h ${host}`,
  transaction: String.raw`EVAL \"local id = redis.call('INCR', 'id') redis.call('INCR', 'sum:$writer') redis.call('SADD', 'ledger:$writer', id) return id\" 0`,
  ready: ["sh", "-c", "redis-cli ping | grep -q PONG"],
  check: ["redis-check-aof", "/data/appendonlydir/appendonly.aof.manifest"],
  goodCheck: /All AOF files and manifest are valid$/,
  torn: [
    ...["redis-cli", "EVAL"],
    "local off = 0 for writer = 1, 2 do off = off + math.abs(redis.call('GET', 'sum:' .. writer) - redis.call('SCARD', 'ledger:' .. writer)) end return off",
    "0",
  ],
  ids: ["redis-cli", "SUNION", "ledger:1", "ledger:2"],
};

/** Shell: two writers to `host`; each acknowledged transaction becomes a line `SECONDS.MICROSECONDS ID` in /acknowledged/NAME.WRITER. */
export function load({ client, transaction }: DatabaseServer, name: string, host: string): string {
  return `
exec 9<> <(:)
write() {
  writer=$1
  while :; do
    while echo "${transaction}"; do read -t 0.01 -u 9; done | ${client(host)} 2> /dev/null |
      while read -r id; do echo "$EPOCHREALTIME $id"; done >> /acknowledged/${name}.$writer
    sleep 0.2
  done
}
trap 'exit 0' TERM
write 1 & write 2 & wait`;
}
