#!/bin/sh
# What "jepsen ssh" does on a machine; it lies there as DIR/jepsen.sh. For people: "sh jepsen.sh DIR undo" makes the
# machine whole and ends the node, and leaves the directory.
#
# Whatever is broken has its undo in DIR/undo.d before it is broken. Who undoes it is the harness, or else the watchdog, which
# runs here and sees that the harness has not written DIR/alive for so long. All that is done is done under DIR/lock.
set -eu
umask 077
DIR=$1 verb=$2
shift 2
CHAIN=CONFMAN-JEPSEN
QDISC=c0f1: # the handle by which a queueing discipline is known as ours

die() {
	echo "$*" >&2
	exit 1
}

# has_systemd: it runs this machine.
has_systemd() { [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; }

# locked waits for what others are doing here, until this script ends.
locked() {
	exec 9>"$DIR/lock"
	flock -w 20 9 || die "$DIR/lock is held by somebody for 20 s"
}

# attended ends what comes from a harness that was thought dead.
attended() { [ ! -e "$DIR/fired" ] || die "the harness was not heard from for too long: this machine undid everything by itself"; }

# newest NUMBER WHAT: what came later has not been done to it already; to be asked under the lock.
newest() {
	[ "$1" -gt "$(cat "$DIR/newest-$2" 2>/dev/null || echo 0)" ] || die "this comes too late: a later change is made"
	echo "$1" >"$DIR/newest-$2"
}

# runs PID: it is a process of this directory.
runs() { [ -n "$1" ] && tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$DIR/"; }

# node prints the process of the node, if there is one. A process of the same number is not it.
node() {
	pid=$(cat "$DIR/pid" 2>/dev/null) || return 1
	case $(readlink "/proc/$pid/exe" 2>/dev/null) in
	"$DIR/confman" | "$DIR/confman (deleted)") echo "$pid" ;;
	*) return 1 ;;
	esac
}

# launch UNIT VERB ARGS: this script with that verb, as a process that outlives the session.
launch() {
	unit=$1
	shift
	if has_systemd; then
		systemctl reset-failed "$unit" 2>/dev/null || :
		systemd-run --quiet --collect --unit="$unit" --property=Type=exec --property=KillMode=control-group \
			--property=LimitNOFILE=32768 --property=LimitCORE=0 /bin/sh "$DIR/jepsen.sh" "$DIR" "$@" 9>&-
	else
		setsid sh "$DIR/jepsen.sh" "$DIR" "$@" </dev/null >>"$DIR/supervisor.log" 2>&1 9>&- &
	fi
}

# register NAME: the undo, from standard input, runs after those of higher names.
register() {
	cat >"$DIR/undo.d/.$1"
	mv "$DIR/undo.d/.$1" "$DIR/undo.d/$1"
}

# undo NAME: if it is registered.
undo() {
	[ ! -e "$DIR/undo.d/$1" ] || { sh "$DIR/undo.d/$1" 9>&- && rm -f "$DIR/undo.d/$1"; }
}

undo_all() {
	left=0
	for u in $(ls -r "$DIR/undo.d"); do
		undo "$u" || left=1
	done
	return $left
}

# tell ORDER: to the node's disk. Prints what it answers.
tell() { printf %s "$1" | "$DIR/jepsen" disk tell "$DIR"; }

# matched IPTABLES: how many packets each rule of the chain matched, in their order.
matched() { "$1" -w 10 -nvxL $CHAIN 2>/dev/null | awk 'NR > 2 { print "rule", $1 }'; }

# passed DEVICE: how many packets each class of its queueing discipline, if that is ours, sent and dropped.
passed() {
	tc -s class show dev "$1" 2>/dev/null |
		awk -v ours="$QDISC" -v dev="$1" '$1 == "class" { c = $3 } $1 == "Sent" && index(c, ours) == 1 { print "class", dev, c, $4, $7 + 0 }'
}

# has_chain IPTABLES: 1 is "there is none", other codes are that it could not be seen.
has_chain() {
	code=0
	"$1" -w 10 -nL $CHAIN >/dev/null 2>&1 || code=$?
	[ $code -ne 1 ]
}

# qdisc_is_default DEVICE: nobody has chosen its queueing discipline, but for us.
qdisc_is_default() { ! tc qdisc show dev "$1" root | grep -vE "^qdisc [^ ]+ (0|${QDISC%:}): " | grep -q .; }

case $verb in
probe) # IPTABLES ADDRESS...: what can be done here, and by which device the addresses are reached
	tool=$1
	shift
	[ "$(id -u)" = 0 ] || die "the user must be root: see \"sudo\" in the inventory"
	for needed in flock setsid awk gzip readlink tail; do
		command -v $needed >/dev/null || die "there is no program $needed"
	done
	has_systemd && echo "supervisor systemd" || echo "supervisor own"
	# What the kernel has is tried where it harms nobody.
	if "$tool" -V >/dev/null 2>&1 && unshare -n sh -c "$tool -N $CHAIN && $tool -A $CHAIN -m statistic --mode random --probability 0.5 -j DROP && printf '*filter\nCOMMIT\n' | $tool-restore --noflush" >/dev/null 2>&1; then
		echo "iptables $("$tool" -V)"
	fi
	unshare -n sh -c "tc qdisc add dev lo root handle $QDISC htb && tc class add dev lo parent $QDISC classid ${QDISC}2 htb rate 1mbit &&
		tc filter add dev lo parent $QDISC protocol ip prio 1 u32 match ip dst 10.0.0.1/32 flowid ${QDISC}2" >/dev/null 2>&1 && echo "htb yes"
	unshare -n tc qdisc add dev lo root netem delay 1ms >/dev/null 2>&1 && echo "netem yes"
	for address in "$@" "${SSH_CONNECTION%% *}"; do
		[ -n "$address" ] || continue
		device=$(ip -o route get "$address" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
		[ -n "$device" ] || continue
		echo "device $address $device"
		qdisc_is_default "$device" 2>/dev/null || echo "shaped $device"
	done
	;;
prepare) # SECONDS IPTABLES: makes the directory, after what a dead harness left
	case $DIR in *[!A-Za-z0-9/._-]* | */../* | */..) die "$DIR is no directory to work in" ;; /*/*) ;; *) die "$DIR is no directory to work in" ;; esac
	[ ! -L "$DIR" ] || die "$DIR is a link"
	if [ -e "$DIR" ]; then
		[ -e "$DIR/.confman-jepsen" ] || die "$DIR is there, and it is of no run of jepsen: name another directory"
		if runs "$(cat "$DIR/watchdog" 2>/dev/null)"; then
			die "another run is at work in $DIR. If its harness is dead, this machine undoes it all within $1 s: try again then"
		fi
		locked
		undo_all || die "what an earlier run left cannot be undone: see $DIR/undo.d"
		rm -rf "$DIR"
	fi
	! "$2" -V >/dev/null 2>&1 || ! has_chain "$2" || die "the chain $CHAIN is there: another run is at work here, in another directory. If not: $2 -F $CHAIN, -D it from INPUT and OUTPUT, -X $CHAIN"
	mkdir -m 700 "$DIR"
	: >"$DIR/.confman-jepsen"
	mkdir "$DIR/undo.d"
	;;
guard) # SECONDS: has the watchdog begin
	launch confman-jepsen-watchdog watchdog "$1"
	;;
watchdog) # SECONDS: undoes everything when alive has not changed for so long. It counts, so that no clock can fool it.
	echo $$ >"$DIR/.watchdog"
	mv "$DIR/.watchdog" "$DIR/watchdog"
	was='' since=0
	while sleep 1; do
		[ -d "$DIR/undo.d" ] || exit 0
		is=$(cat "$DIR/alive" 2>/dev/null) || :
		if [ "$is" != "$was" ]; then
			was=$is since=0
			continue
		fi
		since=$((since + 1))
		[ $since -ge "$1" ] || continue
		echo "the harness was not heard from for $1 s"
		: >"$DIR/fired" || :
		locked || :
		tries=0
		until undo_all || [ $tries -ge 600 ]; do
			tries=$((tries + 1))
			sleep 1
		done
		exit 0
	done
	;;
alive) # the harness lives: it says something new, each line of standard input, and is told that it was heard
	i=0
	until [ -e "$DIR/watchdog" ] || [ $i -ge 100 ]; do
		i=$((i + 1))
		sleep 0.1
	done
	watchdog=$(cat "$DIR/watchdog") || die "the watchdog did not begin: $(cat "$DIR/supervisor.log" 2>/dev/null)"
	while read -r token; do
		attended
		kill -0 "$watchdog" 2>/dev/null || die "the watchdog has ended"
		echo "$token" >"$DIR/alive"
		echo "$token"
	done
	;;
start) # ID ARGS: a node, with arguments for "confman serve"
	locked
	attended
	! node >/dev/null || die "a node runs already"
	echo "sh '$DIR/jepsen.sh' '$DIR' end" | register 30-node
	rm -f "$DIR/pid" "$DIR/ended"
	echo "$1" >"$DIR/id"
	shift
	tell '{"Do":"be ready"}' >/dev/null
	launch confman-jepsen-node supervise "$@"
	i=0
	until node >/dev/null || [ -e "$DIR/ended" ]; do
		i=$((i + 1))
		[ $i -lt 200 ] || die "the node was not started within 10 s: $(cat "$DIR/supervisor.log" 2>/dev/null)"
		sleep 0.05
	done
	;;
supervise) # ARGS
	echo $$ >"$DIR/supervisor"
	if [ -e "$DIR/env" ]; then
		set -a
		. "$DIR/env"
		set +a
	fi
	enter=
	! command -v nsenter >/dev/null || enter="nsenter --mount=/proc/$(cat "$DIR/disk.pid")/ns/mnt"
	$enter "$DIR/confman" serve --config "$DIR/node.json" "$@" >>"$DIR/node.log" 2>&1 </dev/null &
	echo $! >"$DIR/.pid"
	mv "$DIR/.pid" "$DIR/pid"
	code=0
	wait $! || code=$?
	echo $code >"$DIR/.ended"
	mv "$DIR/.ended" "$DIR/ended"
	;;
wait) # ID: until that node has ended; prints its exit status
	while [ "$(cat "$DIR/id" 2>/dev/null)" = "$1" ] && [ ! -e "$DIR/ended" ] && runs "$(cat "$DIR/supervisor" 2>/dev/null)"; do
		sleep 0.1
	done
	[ "$(cat "$DIR/id" 2>/dev/null)" = "$1" ] && cat "$DIR/ended" 2>/dev/null || echo unknown
	;;
signal) # NAME
	attended
	pid=$(node) || exit 0
	kill -"$1" "$pid" || ! node >/dev/null
	;;
end) # the node, at once
	pid=$(node) || exit 0
	kill -KILL "$pid" || :
	i=0
	while node >/dev/null; do
		i=$((i + 1))
		[ $i -lt 100 ] || die "the node (process $pid) does not end"
		sleep 0.05
	done
	;;
links) # NUMBER IPTABLES: sets the rules of the chain, from standard input. Prints how many packets the former ones matched.
	rules=$(cat)
	locked
	attended
	newest "$1" links
	shift
	matched "$1"
	if [ -z "$rules" ]; then
		undo 50-links
		exit
	fi
	register 50-links <<-UNDO
		# Not through $CHAIN any more, and away with it. -L says 1 if there is none.
		for hook in INPUT OUTPUT; do
			while $1 -w 10 -D \$hook -j $CHAIN 2>/dev/null; do :; done
		done
		$1 -w 10 -F $CHAIN 2>/dev/null
		$1 -w 10 -X $CHAIN 2>/dev/null
		$1 -w 10 -nL $CHAIN >/dev/null 2>&1
		[ \$? -eq 1 ]
	UNDO
	printf '*filter\n:%s - [0:0]\n%s\nCOMMIT\n' $CHAIN "$rules" | "$1-restore" -w 10 --noflush
	for hook in INPUT OUTPUT; do
		"$1" -w 10 -C $hook -j $CHAIN 2>/dev/null || "$1" -w 10 -I $hook 1 -j $CHAIN
	done
	;;
shape) # NUMBER DEVICE: commands for tc, from standard input. Prints how many packets the former classes sent and dropped.
	commands=$(cat)
	locked
	attended
	newest "$1" "shape-$2"
	shift
	passed "$1"
	if [ -z "$commands" ]; then
		undo "50-shape-$1"
		exit
	fi
	qdisc_is_default "$1" || die "$1 has a queueing discipline that somebody chose: it is left alone"
	register "50-shape-$1" <<-UNDO
		tc qdisc del dev $1 root handle $QDISC 2>/dev/null
		! tc qdisc show dev $1 root | grep -q ' $QDISC '
	UNDO
	tc qdisc del dev "$1" root handle $QDISC 2>/dev/null || :
	echo "$commands" | tc -batch -
	;;
volume) # MOUNT MAX: makes a directory for the node's data on a small file system of its own
	[ "$(stat -c %d "$1")" != "$(stat -c %d "$1/..")" ] || die "$1 is no mount: a full disk must be a disk of the node's own"
	size=$(($(stat -f -c '%b * %S' "$1")))
	[ $size -le "$2" ] || die "$1 has $size bytes: to be filled it should be small, $2 at most"
	if [ -e "$1/confman-jepsen" ]; then
		[ -e "$1/confman-jepsen/.confman-jepsen" ] || die "$1/confman-jepsen is there, and it is of no run of jepsen"
		rm -rf "$1/confman-jepsen"
	fi
	echo "rm -rf '$1/confman-jepsen'" | register 10-volume
	mkdir -m 700 "$1/confman-jepsen"
	: >"$1/confman-jepsen/.confman-jepsen"
	;;
fill) # NUMBER MOUNT BYTES: has room for so many bytes, used or not; 0: for as many as there is
	locked
	attended
	newest "$1" disk
	shift
	undo 50-disk
	[ "$2" != 0 ] || exit 0
	filler=$1/confman-jepsen/filler
	size=$(($(stat -f -c '%b * %S' "$1") - $2))
	[ $size -gt 0 ] || exit 0
	echo "rm -f '$filler'" | register 50-disk
	# If there is not so much room, all of it is taken.
	fallocate -l $size "$filler" 2>/dev/null || head -c $size /dev/zero >"$filler" 2>/dev/null || :
	;;
serve) # DATA SEED WHY: has the node's disk be served, mounted where the node alone sees it. Prints what it says of itself.
	echo "sh '$DIR/jepsen.sh' '$DIR' eject" | register 20-disk
	launch confman-jepsen-disk disk-server "$@"
	i=0
	until [ -S "$DIR/disk.sock" ]; do
		i=$((i + 1))
		[ $i -lt 200 ] || die "the disk is not served after 10 s: $(cat "$DIR/supervisor.log" 2>/dev/null)"
		sleep 0.05
	done
	tell '{"Do":"nothing"}'
	;;
disk-server) # DATA SEED WHY
	echo $$ >"$DIR/disk.pid"
	if command -v unshare >/dev/null && command -v nsenter >/dev/null; then
		exec unshare --mount --propagation private "$DIR/jepsen" disk serve "$DIR" "$@"
	fi
	exec "$DIR/jepsen" disk serve "$DIR" "$1" "$2" "${3:-there is no unshare, or no nsenter}"
	;;
eject) # the disk, of a node that has ended
	pid=$(cat "$DIR/disk.pid" 2>/dev/null) || exit 0
	i=0
	while runs "$pid"; do
		kill -KILL "$pid" || :
		i=$((i + 1))
		[ $i -lt 100 ] || die "who serves the disk (process $pid) does not end"
		sleep 0.05
	done
	;;
disk) # NUMBER: the disk does what standard input says
	order=$(cat)
	locked
	attended
	newest "$1" disk
	tell "$order"
	;;
damage) # NUMBER: the same, to a node that does not run
	order=$(cat)
	locked
	attended
	newest "$1" disk
	! node >/dev/null || die "the node runs"
	tell "$order"
	;;
power) # NUMBER: the node ends at once, and its disk forgets what was not synced
	locked
	attended
	newest "$1" disk
	! pid=$(node) || kill -KILL "$pid" || :
	tell '{"Do":"lose power"}' >/dev/null
	sh "$DIR/jepsen.sh" "$DIR" end 9>&-
	tell '{"Do":"be ready"}' >/dev/null
	;;
counts-of-disk) # what it refused, took longer for, and lost
	tell '{"Do":"count"}'
	;;
counts) # IPTABLES DEVICE...: what "links" and "shape" would print
	matched "$1"
	shift
	for device in "$@"; do
		passed "$device"
	done
	;;
clock) # NUMBER SECONDS: the wall clock tells so much more than the time; the uptime remembers the time
	locked
	attended
	newest "$1" clock
	shift
	if [ "$1" = 0 ]; then
		undo 50-clock
		exit
	fi
	if [ ! -e "$DIR/undo.d/50-clock" ]; then
		base=$(awk -v wall="$(date +%s.%N)" '{ printf "%.3f", wall - $1 }' /proc/uptime)
		echo "date -s \"@\$(awk '{ printf \"%.3f\", $base + \$1 }' /proc/uptime)\" >/dev/null" | register 50-clock
		echo "$base" >"$DIR/clock"
	fi
	date -s "@$(awk -v base="$(cat "$DIR/clock")" -v more="$1" '{ printf "%.3f", base + more + $1 }' /proc/uptime)" >/dev/null
	;;
undo) # everything, now
	: >"$DIR/fired"
	locked
	undo_all
	;;
finish) # everything, and leaves nothing
	[ -e "$DIR/.confman-jepsen" ] || exit 0
	locked
	undo_all || die "not all can be undone: see $DIR/undo.d; the watchdog goes on trying"
	pid=$(cat "$DIR/watchdog" 2>/dev/null) || :
	! runs "$pid" || kill "$pid" || :
	rm -rf "$DIR"
	;;
*)
	die "there is no verb $verb"
	;;
esac
