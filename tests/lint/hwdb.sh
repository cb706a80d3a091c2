#!/bin/sh
# SPDX-License-Identifier: MIT
# udev's data base takes the board identities, and each is found again with just what its lines
# say; bridge chips are found nowhere. Given SRCDIR.
set -u
failed=0

result()
{
	if [ -z "$2" ]; then
		echo "ok $1"
	else
		echo "$2"
		echo "not ok $1"
		failed=1
	fi
}

command -v systemd-hwdb >/dev/null || { echo "skip hwdb - systemd-hwdb is not installed"; exit 77; }

source=$SRCDIR/udev-rules/60-romount.hwdb
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc/udev/hwdb.d"
cp "$source" "$root/etc/udev/hwdb.d/"
result "the data base is made" \
	"$(systemd-hwdb --strict --root="$root" update 2>&1 || echo "exit code $?")"

query()
{
	systemd-hwdb --root="$root" query "$1" | sort
}

# IDs as udev's usb_id gives them: a pattern or a capital letter would be found by nobody.
result "identities have the form that the rules ask for" "$(grep '^romount:' "$source" |
	grep -vE '^romount:v[0-9a-f]{4}p([0-9a-f]{4}|\*|[0-9a-f]{3}\[[0-9a-f-]+\])$')"
result "no identity stands twice" "$(grep '^romount:' "$source" | sort | uniq -d)"

# Each line of its own, read by awk, against what udev's reader finds.
awk '
	/^romount:/ { key = $0; next }
	/^ / { found[key] = found[key] substr($0, 2) "\n"; next }
	END { for (key in found) if (key !~ /[[*]/) printf "%s\n%s\n", key, found[key] }
' "$source" >"$root/wanted"
wrong= n=0
while IFS= read -r key; do
	want=
	while IFS= read -r line && [ -n "$line" ]; do
		want="$want$line
"
	done
	want=$(printf %s "$want" | sort)
	[ "$(query "$key")" = "$want" ] || wrong="$wrong $key"
	n=$((n + 1))
done <"$root/wanted"
[ "$n" -ge 40 ] || wrong="$wrong; only $n identities were read"
result "each identity is found with what its lines say" "$wrong"

# value WHAT KEY LINE...
value()
{
	what=$1 key=$2
	shift 2
	want=$(for line; do echo "$line"; done | sort)
	found=$(query "$key")
	[ "$found" = "$want" ] && found= || found="$key gives: $found"
	result "$what" "$found"
}

value "any board with MicroPython's own identity" romount:vf055p9802 \
	ROMOUNT_BOARD=1 "ROMOUNT_NAME=MicroPython board"
value "two ttys: the first is the REPL" romount:vf055p9805 \
	ROMOUNT_BOARD=1 "ROMOUNT_NAME=MicroPython board" ROMOUNT_INTERFACE=0
value "two ttys after a disk" romount:vf055p9804 \
	ROMOUNT_BOARD=1 "ROMOUNT_NAME=MicroPython board" ROMOUNT_INTERFACE=1
value "a family" romount:v37c5p7777 ROMOUNT_BOARD=1 "ROMOUNT_NAME=OpenMV camera"
value "a member of it" romount:v37c5p1204 ROMOUNT_BOARD=1 "ROMOUNT_NAME=OpenMV Cam H7"
value "what is on each ESP32 is not taken" romount:v303ap1001 \
	"ROMOUNT_NAME=Espressif USB JTAG/serial" ROMOUNT_QUIRKS=resets
for bridge in 1a86p7523 1a86p55d4 10c4pea60 0403p6001 0403p6015 2e8ap000c 0d28p0204; do
	value "$bridge is left alone" romount:v$bridge
done

# Later files see what the rules say only if they sort after them.
rules=$(basename "$SRCDIR"/udev-rules/*.rules)
result "rules come before those that act on them" "$(printf '%s\n' "$rules" 69-libmtp.rules \
	71-seat.rules 73-seat-late.rules 77-mm-usb-device-blacklist.rules | sort -c 2>&1)"
exit $failed
