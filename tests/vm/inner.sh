#!/bin/sh
# One test of a test program: inner.sh NAME SECONDS PROGRAM TEST. Says how it ended; of one
# that failed, what it printed, too.
out=/run/inner.$$
now() { cut -d' ' -f1 /proc/uptime; }
begin=$(now)
timeout -k 5 "$2" "$3" "$4" --exact --include-ignored --test-threads=1 >"$out" 2>&1
code=$?
# A program that has no such test succeeds, too.
[ $code != 0 ] || grep -q '^test result: ok. 1 passed' "$out" || code=none
exec 9>/run/console.lock
flock 9
# What it printed may end in the middle of a line.
[ $code = 0 ] || { sed 's/^/@out /' "$out"; echo; }
echo "@end $1 $code $begin $(now)"
rm -f "$out"
