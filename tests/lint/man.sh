#!/bin/sh
# SPDX-License-Identifier: MIT
# Every manual page passes mandoc's linter and groff without a word, and tells about every
# command and option that the program has. Given SRCDIR and BUILDDIR.
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

command -v mandoc >/dev/null || { echo "skip man - mandoc is not installed"; exit 77; }

for page in "$SRCDIR"/man/*.[1-8]; do
	name=$(basename "$page")
	result "mandoc $name" "$(mandoc -Tlint -W warning "$page" 2>&1)"
	if command -v man >/dev/null && command -v groff >/dev/null; then
		result "groff $name" "$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 \
			man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)"
	else
		echo "skip groff $name - man-db and groff are not installed"
	fi
done

# All options of each command's --help stand in the page, and its name does.
romount=$BUILDDIR/romount
text=$(mandoc -Tutf8 "$SRCDIR/man/romount.1" | sed 's/.\x08//g')
missing=
for command in $("$romount" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
	case $text in *"romount $command"*) ;; *) missing="$missing $command" ;; esac
	for option in $("$romount" "$command" --help | grep -o -e '--[a-z]*' | sort -u); do
		case $option in --no | --help) continue ;; esac
		case $text in *"$option"*) ;; *) missing="$missing $command:$option" ;; esac
	done
done
result "romount.1 is complete" "$missing"

# Everything that is on the bus stands in its page.
text=$(mandoc -Tutf8 "$SRCDIR/man/org.romount1.5" | sed 's/.\x08//g')
missing=
for name in $(sed -n 's/.*<\(property\|method\|signal\) name="\([^"]*\)".*/\2/p' \
	"$SRCDIR"/bus/org.romount1.*.xml) \
	$(sed -n 's/.*"org\.romount1\.Error\.\([A-Za-z]*\)".*/\1/p' "$SRCDIR/bus/names.h"); do
	case $text in *"$name"*) ;; *) missing="$missing $name" ;; esac
done
result "org.romount1.5 is complete" "$missing"
exit $failed
