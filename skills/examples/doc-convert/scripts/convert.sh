#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Convert a document with pandoc, to standard output or to a new file.

set -eu
LC_ALL=C.UTF-8
export LC_ALL

usage='usage: convert.sh --to FORMAT [--from FORMAT] [--output FILE] FILE
       convert.sh --list'

# fail STATUS MESSAGE
fail() {
	printf 'convert.sh: %s\n' "$2" >&2
	exit "$1"
}

# by_extension NAME: the format that a file of this name is in
by_extension() {
	case $1 in
	*.md | *.markdown) echo markdown ;;
	*.html | *.htm | *.xhtml) echo html ;;
	*.docx) echo docx ;;
	*.odt) echo odt ;;
	*.epub) echo epub ;;
	*.tex | *.latex) echo latex ;;
	*.rst) echo rst ;;
	*.org) echo org ;;
	*.csv) echo csv ;;
	*.ipynb) echo ipynb ;;
	*.txt) echo markdown ;;
	*) echo ;;
	esac
}

# check DIRECTION FORMAT: is FORMAT one that pandoc can read or write? pandoc
# would take the path of a program for a format, so the name is checked first.
check() {
	name=${2%%[+-]*}
	case $name in
	'' | *[!a-z0-9_]*) fail 2 "$2 is not the name of a format; see --list" ;;
	pdf) fail 2 'pdf needs a TeX installation; convert to html or docx and print that' ;;
	esac
	case $2 in
	*[!a-z0-9_+-]*) fail 2 "$2 is not the name of a format; see --list" ;;
	esac
	pandoc "--list-$1-formats" | grep -qx -- "$name" || fail 2 "$name is not one of the $1 formats; see --list"
}

from= to= output= file=
while [ $# -gt 0 ]; do
	case $1 in
	--to | --from | --output)
		[ $# -ge 2 ] || fail 2 "$1 needs a value"
		case $1 in
		--to) to=$2 ;;
		--from) from=$2 ;;
		--output) output=$2 ;;
		esac
		shift 2
		;;
	--list)
		echo "from: $(pandoc --list-input-formats | tr '\n' ' ')"
		echo "to: $(pandoc --list-output-formats | tr '\n' ' ')"
		exit 0
		;;
	--help | -h)
		printf '%s\n' "$usage"
		exit 0
		;;
	-?*) fail 2 "$1 is not an option
$usage" ;;
	*)
		[ -z "$file" ] || fail 2 "one document at a time
$usage"
		file=$1
		shift
		;;
	esac
done

[ -n "$file" ] && [ -n "$to" ] || fail 2 "what to convert, and to what?
$usage"
[ -e "$file" ] || fail 1 "$file: there is no such file"
[ -f "$file" ] && [ -r "$file" ] || fail 1 "$file: it is not a file that can be read"
[ -n "$from" ] || from=$(by_extension "$file")
[ -n "$from" ] || fail 2 "$file: its extension doesn't say what it is; give --from"
check input "$from"
check output "$to"

case $file in /*) ;; *) file=./$file ;; esac
here=$(dirname -- "$0")

# convert TARGET: reading is always sandboxed. Debian's pandoc can't write the
# packed formats so, hence in two steps. The second one fetches every picture that
# it is told of, before any filter of its own: the first one takes them out.
convert() {
	case $to in
	docx* | odt* | epub* | pptx*)
		pandoc --sandbox --standalone --from "$from" --to json --lua-filter "$here/../assets/no-pictures.lua" --output - -- "$file" |
			pandoc --standalone --from json --to "$to" --output "$1"
		;;
	*) pandoc --quiet --sandbox --standalone --from "$from" --to "$to" --output "$1" -- "$file" ;;
	esac
}

if [ -z "$output" ]; then
	[ ! -t 1 ] || case $to in
	docx* | odt* | epub* | pptx*) fail 2 "$to is binary; give --output FILE, or redirect the output" ;;
	esac
	convert - || fail 1 "$file: it was not converted"
	exit 0
fi

case $output in /*) ;; *) output=./$output ;; esac
# noclobber makes the shell open it with O_EXCL: what exists is never replaced.
(set -C && : >"$output") 2>/dev/null || fail 1 "$output: it exists already or can't be written"
if ! convert "$output"; then
	rm -f -- "$output"
	fail 1 "$file: it was not converted"
fi
