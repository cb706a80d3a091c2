# SPDX-License-Identifier: MIT
# bash completion of romount(1)

_romount_boards()
{
	romount list --names 2>/dev/null
}

_romount_ports()
{
	compgen -G '/dev/ttyACM*'
	compgen -G '/dev/ttyUSB*'
}

_romount_options()
{
	local client='--host --json --system --user'
	case $1 in
	list) echo "--names $client" ;;
	info) echo "--partition --state --summary --usage $client" ;;
	watch | sync | eject | verify | save) echo "$client" ;;
	attach) echo "--alias --baud $client" ;;
	release) echo "--for $client" ;;
	doctor) echo "--json" ;;
	deploy) echo "--align --exact --yes $client" ;;
	layout) echo "--partition --svg $client" ;;
	restore) echo "--yes $client" ;;
	format) echo "--baud --partition --size --state --yes $client" ;;
	compact) echo "--align --baud --packed --partition --state $client" ;;
	mount) echo "--align --ask --baud --foreground --id --idle --partition --quiet --size --state" ;;
	ls) echo "--long --partition --recursive" ;;
	build) echo "--align --mtime --output" ;;
	extract) echo "--force --partition" ;;
	esac
	echo --help
}

# What stands where a word is no option: b board, p port, d directory, f file.
_romount_arguments()
{
	case $1 in
	eject | release | verify) echo b ;;
	attach) echo bp ;;
	doctor) echo p ;;
	sync | deploy | save | restore) echo bf ;;
	info | layout | format | compact) echo bpf ;;
	mount | ls | extract) echo pf ;;
	build) echo d ;;
	esac
}

_romount()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} words= kinds
	local commands='list info watch sync eject attach release doctor deploy layout verify
		save restore format compact mount ls build extract help'

	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "$commands --help --version" -- "$cur"))
		return
	fi
	if [ "$cur" = = ]; then
		cur=
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $prev in
	help)
		[ "$COMP_CWORD" != 2 ] || COMPREPLY=($(compgen -W "$commands" -- "$cur"))
		return
		;;
	--state) COMPREPLY=($(compgen -d -- "$cur")) && return ;;
	--svg | --output | -o) COMPREPLY=($(compgen -f -- "$cur")) && return ;;
	-H | --host) COMPREPLY=($(compgen -A hostname -- "$cur")) && return ;;
	--baud) COMPREPLY=($(compgen -W '9600 57600 115200 230400 460800 921600' -- "$cur")) && return ;;
	--alias | --align | --for | --id | --idle | --partition | --quiet | --size | -p | -a) return ;;
	esac
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(_romount_options "$command")" -- "$cur"))
		return
	fi
	kinds=$(_romount_arguments "$command")
	[[ $kinds != *b* ]] || words=$(_romount_boards)
	[[ $kinds != *p* ]] || words="$words $(_romount_ports)"
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	[[ $kinds != *f* ]] || COMPREPLY+=($(compgen -f -- "$cur"))
	[[ $kinds != *d* ]] || COMPREPLY+=($(compgen -d -- "$cur"))
}

complete -o filenames -F _romount romount
