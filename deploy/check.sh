#!/bin/sh
# Has each program judge the file that is for it: promtool the rules and their tests, HAProxy and systemd
# their configuration. deploy/tools.sh brings the programs. What deploy has that is no program's to judge,
# as the names of metrics, is tested with the Go code.
set -eu
cd "$(dirname "$0")"
tools=$PWD/../bin/tools
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# What the system has of libraries comes first: only what it lacks is in bin/tools.
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
with() { LD_LIBRARY_PATH=$tools/usr/lib/$triplet:$tools/lib/$triplet:$tools/usr/lib/$triplet/systemd "$@"; }

echo "prometheus/rules.yml"
"$tools/usr/bin/promtool" check rules --lint=all --lint-fatal prometheus/rules.yml
"$tools/usr/bin/promtool" test rules prometheus/rules_test.yml

echo "grafana/confman.json"
# Its expressions as rules, with values for Grafana's variables: a JSON string is one of YAML.
{
	echo 'groups: [{name: dashboard, rules: ['
	sed -n 's/\$__rate_interval/5m/g; s/\$job/confman/g; s/\$instance/.*/g; s/^ *"expr": \(".*"\),\{0,1\}$/\1/p' grafana/confman.json |
		awk '{ print "{record: \"dashboard:expression:" NR "\", expr: " $0 "}," }'
	echo ']}]'
} >"$scratch/dashboard.yml"
"$tools/usr/bin/promtool" check rules --lint=all --lint-fatal "$scratch/dashboard.yml"

echo "haproxy/haproxy.cfg"
# The account comes with the installed package: without it the rest can be judged all the same.
sed '/^\tuser haproxy$/d; /^\tgroup haproxy$/d' haproxy/haproxy.cfg >"$scratch/haproxy.cfg"
with "$tools/usr/sbin/haproxy" -c -f "$scratch/haproxy.cfg"

echo "systemd/confman.service"
analyze=$(command -v systemd-analyze || echo "$tools/usr/bin/systemd-analyze")
[ "$analyze" = "$tools/usr/bin/systemd-analyze" ] || with() { "$@"; }
# The program need not be installed here.
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' systemd/confman.service >"$scratch/confman.service"
with "$analyze" verify --man=no "$scratch/confman.service"
# 10 is exposed to everything, 0 to nothing; this holds the unit at 2.0.
if ! with "$analyze" security --offline=true --threshold=20 --no-pager "$scratch/confman.service" >"$scratch/exposure"; then
	cat "$scratch/exposure" >&2
	exit 1
fi
tail -1 "$scratch/exposure"
