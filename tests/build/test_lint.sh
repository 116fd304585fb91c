#!/bin/bash
# The static checks notice a fault that is put before them, and an ill-formatted file.
set -u
. tests/build/tap.sh
for tool in clang-tidy cppcheck clang-format; do
    command -v "$tool" > /dev/null || { echo "skipped: $tool is not installed (./bootstrap.sh deps ci)"; exit 77; }
done

source_file() { # name, body
    printf '#include <stdlib.h>\nint %s(int n);\nint %s(int n)\n{\n    %s\n}\n' "$1" "$1" "$2" > "$TMPDIR/$1.c"
}
complains() { # file, expected word
    local output
    output=$(tests/build/lint.sh "$TMPDIR/$1.c" 2>&1) && { echo "accepted $1"; return 1; }
    contains "$output" "$2"
}
layout() { clang-format --style=file:.clang-format --dry-run -Werror "$TMPDIR/$1.c"; }

source_file clean 'return n + 1;'
source_file overrun 'int a[4] = {0}; return a[4] + n;'
source_file null_pointer 'int *p = NULL; if (n > 0) p = &n; return *p;'
source_file leak 'char *p = malloc(4); if (p == NULL) return 1; p[0] = (char)n; return p[0];'
source_file sloppy 'return  n+1 ;'

expect "a sound file passes" tests/build/lint.sh "$TMPDIR/clean.c"
expect "cppcheck sees an index out of bounds" complains overrun arrayIndexOutOfBounds
expect "clang-tidy sees a null pointer" complains null_pointer NullDereference
expect "clang-tidy sees a leak" complains leak unix.Malloc
expect "a file in house style passes" layout clean
refuse "a file in another style does not" layout sloppy
finish
