#!/bin/sh
# Brings what deploy/check.sh checks with from Debian into bin/tools, without installing anything:
# promtool and haproxy, with the libraries that this system lacks, and systemd-analyze if it has none.
# They are kept. Exits with 3 if the packages cannot be fetched.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/bin/tools
mkdir -p "$tools/debs"

# fetch unpacks packages below bin/tools.
fetch() {
	cd "$tools/debs"
	if ! apt-get download -q "$@" >"$tools/log" 2>&1; then
		# The lists of packages may be old, or missing.
		if ! { apt-get update -q && apt-get download -q "$@"; } >>"$tools/log" 2>&1; then
			echo "cannot fetch $* from Debian:" >&2
			cat "$tools/log" >&2
			exit 3
		fi
	fi
	for deb in *.deb; do
		dpkg -x "$deb" "$tools"
		rm "$deb"
	done
	# Among the examples are Go sources, which "go build ./..." would find.
	rm -rf "$tools/usr/share" "$tools/etc" "$tools/var"
	cd - >/dev/null
}

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
	echo "this is no Debian: there is no apt-get, or no dpkg" >&2
	exit 3
fi
[ -x "$tools/usr/bin/promtool" ] || fetch prometheus
[ -x "$tools/usr/sbin/haproxy" ] || fetch haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0
command -v systemd-analyze >/dev/null || [ -x "$tools/usr/bin/systemd-analyze" ] || fetch systemd libsystemd-shared libsystemd0 \
	libseccomp2 libcryptsetup12 libkmod2 libip4tc2 libapparmor1 libfdisk1 libp11-kit0 libacl1 libargon2-1 libjson-c5 libdevmapper1.02.1
