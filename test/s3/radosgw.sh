#!/bin/bash
# Ceph's object gateway on this machine, for `npm run test:s3`: one monitor, one storage daemon, one gateway, without
# authentication between them, on loopback only. Debian's packages (16.2).
#
#   radosgw.sh install      installs the packages; needs root and apt
#   radosgw.sh start        prints the endpoints; reuses what runs already
#   radosgw.sh stop         stops what `start` started, and nothing else
#   radosgw.sh kill NAME    SIGKILL for one daemon: osd0, osd1, …, rgw0, …
#   radosgw.sh run NAME     starts it again
#
# OSDS and RGWS (1 each) say how many storage daemons and gateways there are; each object has a copy on each storage daemon.
# CEPH_DIR (default: holdfast-ceph in TMPDIR) keeps data, logs and pid files. RGW_PORT (7490; one more for each gateway), MON_PORT (6790).
set -euo pipefail
dir=${CEPH_DIR:-${TMPDIR:-/tmp}/holdfast-ceph}
rgw_port=${RGW_PORT:-7490}
mon_port=${MON_PORT:-6790}
osds=${OSDS:-1}
rgws=${RGWS:-1}
export CEPH_CONF=$dir/ceph.conf

alive() { [ -s "$dir/run/$1.pid" ] && kill -0 "$(cat "$dir/run/$1.pid")" 2>/dev/null; }

spawn() { # name, command…: in a session of its own, so that the tests' end does not end it
  local name=$1
  shift
  alive "$name" && return
  setsid "$@" >>"$dir/log/$name.out" 2>&1 </dev/null &
  echo $! >"$dir/run/$name.pid"
}

stop_one() {
  if alive "$1"; then
    local pid
    pid=$(cat "$dir/run/$1.pid")
    kill "$pid"
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$dir/run/$1.pid"
}

wait_for() { # seconds, command…
  local tries=$(($1 * 5))
  shift
  for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  echo "gave up on: $*; see $dir/log" >&2
  exit 1
}

create() {
  mkdir -p "$dir"/{run,log,mon}
  local fsid
  fsid=$(cat /proc/sys/kernel/random/uuid)
  cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon_host = v1:127.0.0.1:$mon_port
mon_initial_members = a
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = $dir/run
log_file = $dir/log/\$name.log
admin_socket = $dir/run/\$name.asok
pid_file =
mon_cluster_log_file = $dir/log/cluster.log
osd_pool_default_size = $osds
osd_pool_default_min_size = $((osds > 2 ? 2 : 1))
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
[mon]
mon_data = $dir/mon
mon_osd_min_down_reporters = 1
mon_osd_adjust_heartbeat_grace = false
[osd]
osd_heartbeat_grace = 6
osd_heartbeat_interval = 2
osd_data = $dir/osd\$id
osd_objectstore = bluestore
osd_class_update_on_start = false
osd_memory_target = 939524096
osd_class_load_list = *
osd_class_default_list = *
bluestore_block_create = true
bluestore_block_size = 17179869184
[client]
rgw_enable_usage_log = false
rgw_enable_ops_log = false
CONF
  for i in $(seq 0 $((osds - 1))); do mkdir -p "$dir/osd$i"; done
  for i in $(seq 0 $((rgws - 1))); do
    mkdir -p "$dir/rgw$i"
    cat >>"$CEPH_CONF" <<CONF
[client.rgw$i]
rgw_data = $dir/rgw$i
rgw_frontends = beast endpoint=127.0.0.1:$((rgw_port + i))
CONF
  done
  monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
  ceph-mon --mkfs -i a --monmap "$dir/monmap" -c "$CEPH_CONF"
}

run_daemon() {
  case $1 in
  osd*) spawn "$1" ceph-osd -f -i "${1#osd}" -c "$CEPH_CONF" ;;
  rgw*) spawn "$1" radosgw -f -n "client.$1" -c "$CEPH_CONF" ;;
  esac
}

osds_started() {
  # A storage daemon that starts with a new cluster may exit once: it is started again.
  for i in $(seq 0 $((osds - 1))); do run_daemon "osd$i"; done
  ceph --connect-timeout 5 osd stat 2>/dev/null | grep -q " $osds up"
}

case ${1:-start} in
install)
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    radosgw ceph-mon ceph-osd ceph-common curl
  ;;
start)
  for command in radosgw ceph-mon ceph-osd ceph monmaptool curl; do
    command -v $command >/dev/null || { echo "$command is missing: $0 install" >&2; exit 1; }
  done
  is_new=
  [ -f "$CEPH_CONF" ] || { is_new=1; create; }
  spawn mon ceph-mon -f -i a -c "$CEPH_CONF"
  wait_for 30 timeout 5 ceph --connect-timeout 2 quorum_status
  if [ -n "$is_new" ]; then
    for i in $(seq 0 $((osds - 1))); do
      osd_id=$(cat /proc/sys/kernel/random/uuid)
      ceph osd new "$osd_id" "$i" >/dev/null 2>&1
      ceph-osd --mkfs -i "$i" --osd-uuid "$osd_id" -c "$CEPH_CONF" >>"$dir/log/mkfs.out" 2>&1
    done
  fi
  wait_for 60 osds_started
  for i in $(seq 0 $((rgws - 1))); do
    run_daemon "rgw$i"
    wait_for 120 curl -s -o /dev/null "http://127.0.0.1:$((rgw_port + i))/"
  done
  if [ -n "$is_new" ]; then
    radosgw-admin -c "$CEPH_CONF" -n client.rgw0 user create --uid=test --display-name=test \
      --access-key=testaccess --secret-key=testsecret >/dev/null 2>"$dir/log/admin.err"
  fi
  for i in $(seq 0 $((rgws - 1))); do echo "http://127.0.0.1:$((rgw_port + i))"; done
  ;;
stop)
  for i in $(seq 0 $((rgws - 1))); do stop_one "rgw$i"; done
  for i in $(seq 0 $((osds - 1))); do stop_one "osd$i"; done
  stop_one mon
  ;;
kill)
  kill -9 "$(cat "$dir/run/$2.pid")"
  rm -f "$dir/run/$2.pid"
  ;;
run)
  run_daemon "$2"
  ;;
*)
  echo "usage: $0 install|start|stop|kill NAME|run NAME" >&2
  exit 2
  ;;
esac
