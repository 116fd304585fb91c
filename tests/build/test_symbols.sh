#!/bin/bash
# What the libraries export is what the header declares, under its version: no symbol of OpenBLAS, none internal.
set -u
. tests/build/tap.sh

sed -n 's/^EWC_API .*[ *]\(ewc_[a-z0-9_]*\)(.*/\1/p' include/libewc.h | sort > "$TMPDIR/declared"
sed -n 's/^ *\(ewc_[a-z0-9_]*\);.*/\1/p' lib/libewc.map | sort > "$TMPDIR/mapped"
nm -D --defined-only "$EWC_BUILD/libewc.so" | awk '$2 != "A" { print $3 }' | sort > "$TMPDIR/shared"
sed 's/@.*//' "$TMPDIR/shared" > "$TMPDIR/shared-names"
nm -g --defined-only "$EWC_BUILD/libewc.a" | awk 'NF == 3 { print $3 }' | sort > "$TMPDIR/static"

every_declaration_is_found() { # a declaration that the pattern above cannot read would be missed silently
    [ "$(grep -c '^EWC_API ' include/libewc.h)" -eq "$(wc -l < "$TMPDIR/declared")" ]
}
every_symbol_has_a_version() { ! grep -v '@@LIBEWC_[0-9.]*$' "$TMPDIR/shared"; }
has_soname() { readelf -d "$EWC_BUILD/libewc.so" | grep -q 'SONAME.*\[libewc\.so\.[0-9]*\]'; }
needs_no_blas() { ! readelf -d "$EWC_BUILD/libewc.so" | grep -iE 'NEEDED.*(blas|lapack|gfortran)'; }
same() { diff "$1" "$2"; }

expect "every declaration of the header is read by this test" every_declaration_is_found
expect "the version script lists what the header declares" same "$TMPDIR/declared" "$TMPDIR/mapped"
expect "the shared library exports what the header declares" same "$TMPDIR/declared" "$TMPDIR/shared-names"
expect "the static library exports what the header declares" same "$TMPDIR/declared" "$TMPDIR/static"
expect "every exported symbol has a version" every_symbol_has_a_version
expect "the shared library has a soname" has_soname
expect "the shared library needs no shared BLAS" needs_no_blas
finish
