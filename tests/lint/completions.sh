#!/bin/bash
# SPDX-License-Identifier: MIT
# The completions of bash, zsh and fish are understood by these shells, and offer every command,
# and of each command every long option of its --help. Given SRCDIR and BUILDDIR.
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

dir=$SRCDIR/completions
# A stand-in for romount, so that boards are known without a daemon.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#!/bin/sh\n[ "$*" != "list --names" ] || printf "Pico-one\\nPico-two\\nPico-two:1\\n"\n' >"$work/romount"
chmod +x "$work/romount"

commands=$("$BUILDDIR/romount" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
long_options()
{
	"$BUILDDIR/romount" "$1" --help | grep -oE -e '(^|[^-a-z])--[a-z]+(-[a-z]+)*' |
		grep -oE -e '--[a-z-]+' | grep -vx -e --no-mpy | sort -u
}

# bash_offers WORD...: what is offered for the last word.
bash_offers()
{
	PATH="$work:$PATH" bash --norc -c '
		source "$1"; shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_romount
		printf "%s\n" "${COMPREPLY[@]}"' - "$dir/romount.bash" "$@"
}

fish_offers()
{
	PATH="$work:$PATH" HOME=$work fish --no-config -c "
		source '$dir/romount.fish'; complete -C '$*'" | cut -f 1
}

# zsh's own engine needs a terminal; _arguments writes down instead what it was given.
zsh_offers()
{
	zsh -f -c '
		_arguments() { print -rl -- "$@" }
		_describe() { : }
		_alternative() { print -rl -- "$@" }
		compdef() { : }
		words=("${(@)argv[2,-1]}") CURRENT=$#words
		source "$1"' - "$dir/_romount" "$@" | grep -oE -e '--[a-z]+(-[a-z]+)*' | sort -u
}

check_commands() # SHELL, what it offers
{
	result "$1: every command" "$(comm -23 <(sort <<<"$commands") <(sort <<<"$2"))"
}

check_options() # SHELL, FUNCTION, DASHES to complete
{
	local command missing=
	for command in $commands; do
		missing="$missing$(comm -23 <(long_options "$command") \
			<("$2" romount "$command" "$3" | sort) | sed "s/.*/ $command:&/" | tr -d '\n')"
	done
	result "$1: every option" "$missing"
}

if command -v bash >/dev/null; then
	result "bash: syntax" "$(bash -n "$dir/romount.bash" 2>&1)"
	check_commands bash "$(bash_offers romount '')"
	check_options bash bash_offers --
	result "bash: boards" "$(bash_offers romount eject Pico-t |
		diff - <(printf 'Pico-two\nPico-two:1\n'))"
	result "bash: an option's value" "$(bash_offers romount mount --baud = 1152 |
		diff - <(echo 115200))"
fi
if command -v fish >/dev/null; then
	result "fish: syntax" "$(fish --no-execute "$dir/romount.fish" 2>&1)"
	check_commands fish "$(fish_offers 'romount ')"
	check_options fish fish_offers --
	result "fish: boards" "$(fish_offers 'romount eject Pico-t' |
		diff - <(printf 'Pico-two\nPico-two:1\n'))"
else
	echo "skip fish - it is not installed"
fi
if command -v zsh >/dev/null; then
	result "zsh: syntax" "$(zsh -n "$dir/_romount" 2>&1)"
	check_commands zsh "$(sed -n "s/^\t\t'\([a-z]*\):.*/\1/p" "$dir/_romount")"
	check_options zsh zsh_offers --
else
	echo "skip zsh - it is not installed"
fi
exit $failed
