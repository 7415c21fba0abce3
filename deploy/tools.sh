#!/bin/sh
# Brings what deploy/check.sh checks with from Debian into bin/tools: promtool and haproxy, with the libraries that
# this system lacks, and systemd-analyze if it has none. Exits with 3 if the packages cannot be fetched.
set -eu
cd "$(dirname "$0")/.."
. deploy/debian.sh
[ -x "$tools/usr/bin/promtool" ] || fetch prometheus
[ -x "$tools/usr/sbin/haproxy" ] || fetch haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0
command -v systemd-analyze >/dev/null || [ -x "$tools/usr/bin/systemd-analyze" ] || fetch systemd libsystemd-shared libsystemd0 \
	libseccomp2 libcryptsetup12 libkmod2 libip4tc2 libapparmor1 libfdisk1 libp11-kit0 libacl1 libargon2-1 libjson-c5 libdevmapper1.02.1
