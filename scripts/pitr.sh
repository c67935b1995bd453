#!/usr/bin/env bash
# Point-in-time recovery of a Postgres of one's own, by pgBackRest: docs/pitr.md. It needs bash, psql and pgbackrest, and neither
# Node nor a running Plinth: it is for the machine that the data folder is on. Run it as root or as the user of Postgres.
set -euo pipefail

usage() {
  cat >&2 <<'END'
scripts/pitr.sh configure           archive from now on; Postgres has to be restarted once after it
scripts/pitr.sh backup [full|diff|incr]
scripts/pitr.sh check               whether what is written now arrives in the archive
scripts/pitr.sh status              the backups, and how far back one can go
scripts/pitr.sh restore [TIME [TIMELINE]]  puts the data folder back as it was then, or as it was last; Postgres must be stopped
scripts/pitr.sh restored            after the start: waits until Postgres takes writes, and tells Plinth
PITR_CONFIG (/etc/pgbackrest.conf), PITR_FOLDER (/var/lib/pgbackrest), PITR_KEY, PITR_KEEP (2 full backups), PITR_USER (postgres),
and PGHOST, PGPORT, PGDATABASE as psql reads them.
END
  exit 2
}

config=${PITR_CONFIG:-/etc/pgbackrest.conf}
folder=${PITR_FOLDER:-/var/lib/pgbackrest}
owner=${PITR_USER:-postgres}
stanza=plinth

# What touches the cluster runs as its user: pgBackRest's files must be that user's.
as_owner() {
  if ((EUID == 0)); then (cd / && runuser -u "$owner" -- "$@"); else "$@"; fi
}

sql() {
  as_owner psql -qtAX -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" "$@"
}

backrest() {
  as_owner pgbackrest --config="$config" --stanza="$stanza" --log-level-console=warn "$@"
}

refuse() {
  printf '%s\n  %s\n' "$1" "$2" >&2
  exit 1
}

configured() {
  [[ -e $config ]] || refuse "There is no $config." 'Run scripts/pitr.sh configure first, or set PITR_CONFIG.'
}

configure() {
  local data port socket
  data=$(sql -c 'show data_directory')
  port=$(sql -c 'show port')
  socket=$(sql -c "select trim(split_part(current_setting('unix_socket_directories'), ',', 1))")
  if [[ -e $config ]] && grep -q "^\[$stanza\]" "$config"; then
    echo "$config stays as it is"
  else
    # Readable for the user of Postgres alone: the key stands in it.
    (
      umask 077
      cat >"$config" <<END
[global]
repo1-path=$folder
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=${PITR_KEY:-$(head -c 48 /dev/urandom | base64 | tr -d '\n')}
repo1-retention-full=${PITR_KEEP:-2}
repo1-bundle=y
compress-type=zst
start-fast=y
process-max=2
log-path=$folder/log
log-level-file=off
lock-path=$folder/lock
spool-path=$folder/spool

[$stanza]
pg1-path=$data
pg1-port=$port
pg1-socket-path=$socket
END
    )
    if ((EUID == 0)); then chown "$owner" "$config"; fi
    echo "$config is written; the key is in it: keep a copy elsewhere than the backups"
  fi
  mkdir -p -m 750 "$folder"
  if ((EUID == 0)); then chown "$owner" "$folder"; fi
  # A segment is archived after a minute at the latest: the most that is lost with the machine.
  sql -v command="pgbackrest --config=$config --stanza=$stanza archive-push %p" <<'SQL'
alter system set wal_level = replica;
alter system set archive_mode = on;
alter system set archive_command = :'command';
alter system set archive_timeout = '60s';
SQL
  echo 'Restart Postgres once, then: scripts/pitr.sh backup'
}

restore() {
  local time=${1:-} timeline=${2:-} data
  data=$(as_owner sed -n 's/^pg1-path=//p' "$config")
  if [[ -e $data/postmaster.pid ]] && kill -0 "$(head -n 1 "$data/postmaster.pid")" 2>/dev/null; then
    refuse "Postgres runs in $data." 'Stop it first: what is restored is written over its files.'
  fi
  rm -f "$data/postmaster.pid"
  if [[ ! -d $data ]]; then
    mkdir -p -m 700 "$data"
    if ((EUID == 0)); then chown "$owner" "$data"; fi
  fi
  # Into a folder that holds most of it, only what differs is copied.
  local options=(--delta)
  if [[ $time ]]; then options+=(--type=time --target="$time" --target-action=promote); fi
  if [[ $timeline ]]; then options+=(--target-timeline="$timeline"); fi
  backrest "${options[@]}" restore
  echo "$data is ready after $SECONDS s; start Postgres, then: scripts/pitr.sh restored"
}

restored() {
  local database
  echo 'Waiting until Postgres takes writes'
  until [[ $(sql -c 'select pg_is_in_recovery()' 2>/dev/null) == f ]]; do sleep 0.2; done
  echo "It took $SECONDS s"
  # Clients have seen events that are no more: their cursors are to be refused.
  sql -c 'select datname from pg_database where datallowconn and not datistemplate' | while read -r database; do
    if [[ $(PGDATABASE=$database sql -c "select to_regproc('operations.restored') is not null") == t ]]; then
      PGDATABASE=$database sql -c "select operations.restored('to a point in time', now(), now(), 0, 0, 0)" >/dev/null
      echo "$database knows that it was restored"
    fi
  done
}

command=${1:-}
shift || true
case $command in
  configure) configure ;;
  backup)
    configured
    case ${1:-full} in full | diff | incr) ;; *) usage ;; esac
    backrest stanza-create
    backrest --type="${1:-full}" backup
    backrest info
    ;;
  check) configured && backrest check && echo 'What is written now arrives in the archive' ;;
  status) configured && backrest info ;;
  restore) configured && restore "$@" ;;
  restored) restored ;;
  *) usage ;;
esac
