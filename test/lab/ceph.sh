#!/bin/sh
# ceph.sh ADDRESS PORT TLSPORT: a Ceph S3 server of one monitor, one object store in memory and one gateway, as the only program
# of its machine. All that it keeps is in /srv/lab; a clean stop writes the objects there, a start reads them again.
# SIGTERM ends it, in order. It says that it is ready by the file /srv/lab/ready.
set -eu
d=/srv/lab/ceph
export CEPH_CONF=$d/ceph.conf
rm -f /srv/lab/ready
mkdir -p $d/run
rm -f $d/run/*

if [ ! -e $d/made ]; then
  rm -rf $d
  mkdir -p $d/mon $d/osd $d/run $d/rgw
  fsid=$(cat /proc/sys/kernel/random/uuid)
  arch=$(dirname "$(dirname "$(find /usr/lib -path '*/ceph/erasure-code' -type d)")")
  cat > $CEPH_CONF <<EOF
[global]
fsid=$fsid
mon_host=[v2:127.0.0.1:3300]
mon_initial_members=x
public_network=127.0.0.0/8
public_addr=127.0.0.1
cluster_addr=127.0.0.1
keyring=$d/keyring
log_file=$d/\$name.log
log_max_recent=100
admin_socket=$d/run/\$name.\$pid.asok
run_dir=$d/run
pid_file=$d/run/\$name.pid
osd_pool_default_size=1
osd_pool_default_min_size=1
osd_pool_default_pg_num=4
osd_pool_default_pg_autoscale_mode=off
osd_crush_chooseleaf_type=0
mon_allow_pool_size_one=true
mon_max_pg_per_osd=2000
mon_data_avail_crit=1
mon_data=$d/mon
osd_data=$d/osd
rgw_data=$d/rgw
paxos_propose_interval=0.02
paxos_min_wait=0.01
mon_tick_interval=1
[osd]
osd_class_dir=$arch/rados-classes
erasure_code_dir=$arch/ceph/erasure-code
plugin_dir=$arch/ceph
osd_fast_shutdown=false
osd_objectstore=memstore
memstore_device_bytes=8589934592
[client.rgw.x]
rgw_frontends=beast endpoint=$1:$2 ssl_endpoint=$1:$3 ssl_certificate=/srv/lab/tls.pem tcp_nodelay=1
rgw_dns_name=s3.lab.test
rgw_crypt_s3_kms_backend=testing
rgw_crypt_s3_kms_encryption_keys=lab-key=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
rgw_dynamic_resharding=false
EOF
  key() { name=$1; shift; ceph-authtool $d/keyring --gen-key -n "$name" "$@" >/dev/null; }
  ceph-authtool -C $d/keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
  key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  key client.rgw.x --cap mon 'allow *' --cap osd 'allow *'
  key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  monmaptool --create --fsid "$fsid" --addv x '[v2:127.0.0.1:3300]' $d/monmap >/dev/null
  ceph-mon --mkfs -i x --monmap $d/monmap --keyring $d/keyring >/dev/null
  ceph-mon -i x
  ceph auth import -i $d/keyring
  osd=$(cat /proc/sys/kernel/random/uuid)
  ceph osd new "$osd" >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd"
  touch $d/made
else
  ceph-mon -i x
fi

ceph-osd -i 0
radosgw -n client.rgw.x

stop() {
  rm -f /srv/lab/ready
  for name in client.rgw.x osd.0 mon.x; do
    pid=$(cat $d/run/$name.pid)
    kill "$pid"
    while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
  done
  exit 0
}
trap stop TERM
touch /srv/lab/ready
while :; do
  sleep 1000 &
  wait $!
done
