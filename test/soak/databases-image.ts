// Debian's PostgreSQL, MariaDB and Redis in one image for the lab, made when a soak asks for it: nothing is installed on this machine.
import type { DebianImage } from "../lab/image.ts";

const finish = `set -e
rm -rf /var/lib/postgresql/* /var/lib/mysql /etc/mysql
install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data
getent passwd mysql > /dev/null || useradd --system --home-dir /var/lib/mysql --no-create-home mysql
install -d -o mysql -g mysql -m 700 /var/lib/mysql
install -d -o redis -g redis -m 700 /data
install -d -m 777 /acknowledged
`;

export const databasesImage: DebianImage = {
  kind: "debian",
  tag: "skep-lab/databases:bookworm",
  recipe: {
    name: "databases",
    suite: "bookworm",
    packages: ["postgresql-15", "mariadb-server-core", "mariadb-client", "redis-server"],
    finish,
  },
  // Of Debian's folders for sockets, which lie in /run, nothing is left in an image.
  changes: [
    "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV PGHOST=/tmp",
    "ENV MYSQL_UNIX_PORT=/tmp/mysqld.sock",
  ],
};
