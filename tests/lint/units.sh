#!/bin/sh
# SPDX-License-Identifier: MIT
# The units are understood by systemd without a word, and what they leave exposed stays under
# the figures that are promised. Given SRCDIR and BUILDDIR.
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

command -v systemd-analyze >/dev/null ||
	{ echo "skip units - systemd-analyze is not installed"; exit 77; }

# The programs that a unit names must be there for verify, and its manual pages not.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/system" "$dir/user"
for unit in "$BUILDDIR"/systemd/*.service "$BUILDDIR"/systemd/*.socket; do
	to=$dir/system/$(basename "$unit")
	case $unit in *-user.service) to=$dir/user/romountd.service ;; esac
	sed -e '/^Documentation=/d' -e 's,^ExecStart=[^ ]*,ExecStart=/bin/true,' "$unit" >"$to"
done
for template in romount-board romount-mount; do
	cp "$dir/system/$template@.service" "$dir/system/$template@1.service"
done

result "verify system units" "$(systemd-analyze verify --man=no "$dir"/system/romountd.service \
	"$dir"/system/romount-*@1.service "$dir"/system/*.socket 2>&1)"
result "verify the user's unit" \
	"$(XDG_RUNTIME_DIR=$dir systemd-analyze verify --man=no --user \
		"$dir/user/romountd.service" 2>&1)"

# exposed NAME TENTHS-AT-MOST
exposed()
{
	figure=$(systemd-analyze security --offline=yes --no-pager "$dir/system/$1" |
		sed -n 's/.*exposure level for [^:]*: \([0-9]*\)\.\([0-9]\) .*/\1\2/p')
	echo "$1: exposure $figure tenths, at most $2"
	if [ -n "$figure" ] && [ "$figure" -le "$2" ]; then
		result "exposure of $1" ""
	else
		systemd-analyze security --offline=yes --no-pager "$dir/system/$1"
		result "exposure of $1" "it is '$figure' tenths, not at most $2"
	fi
}

exposed romountd.service 31
exposed romount-mount@1.service 31
exposed romount-board@1.service 5

# Whatever gives a unit its own view of the file system would hide its mounts.
hiding='ProtectSystem|ProtectHome|ProtectKernel[A-Za-z]*|ProtectControlGroups|ProtectProc'
hiding="$hiding|ProcSubset|PrivateTmp|PrivateDevices|PrivateIPC|PrivateUsers|RootDirectory"
hiding="$hiding|TemporaryFileSystem|[A-Za-z]*Paths|MountAPIVFS|PrivateMounts"
result "mounts are seen outside" "$(grep -E "^($hiding)=" \
	"$BUILDDIR/systemd/romount-mount@.service" | grep -v '^PrivateMounts=no$')"
result "no mark is left of what is put in when building" \
	"$(grep -n '@[a-z]*@' "$BUILDDIR"/systemd/*.service "$BUILDDIR"/systemd/*.socket)"
exit $failed
