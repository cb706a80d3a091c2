# SPDX-License-Identifier: MIT
# Python source to a C string: no comment lines, one blank per level of indentation.
/^ *(#|$)/ { next }
{
	match($0, /^ */)
	indent = substr("                ", 1, RLENGTH / 4)
	line = indent substr($0, RLENGTH + 1)
	gsub(/\\/, "&&", line)
	gsub(/"/, "\\\"", line)
	printf "\"%s\\n\"\n", line
}
