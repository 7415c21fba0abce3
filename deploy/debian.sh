# For scripts to source, in the top directory: fetch PACKAGE... unpacks packages of Debian into bin/tools, without
# installing anything. They are kept. It ends the script with 3 if they cannot be had.
tools=$PWD/bin/tools
mkdir -p "$tools/debs"

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
