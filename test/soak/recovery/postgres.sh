set -e
if ! [ -s "$PGDATA/PG_VERSION" ]; then
  initdb --username postgres --auth trust --data-checksums --encoding UTF8 --no-instructions
  echo "host all all all trust" >> "$PGDATA/pg_hba.conf"
  pg_ctl start --wait --options "-c listen_addresses= -c unix_socket_directories=/tmp"
  createdb --username postgres shop
  psql --username postgres --command "CREATE TABLE ledger AS SELECT n AS id, md5(n::text) AS entry FROM generate_series(1, $ROWS) AS n" shop
  pg_ctl stop --wait
fi
exec postgres -c "listen_addresses=*" -c unix_socket_directories=/tmp
