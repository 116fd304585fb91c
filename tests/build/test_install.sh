#!/bin/bash
# The installed copy: examples/minimal is built against it by pkg-config alone, as C and as C++, shared and static, and run.
set -u
. tests/build/tap.sh
cc=${CC:-gcc} cxx=${CXX:-g++}
destination=$TMPDIR/destination
prefix=/usr/local

make_quietly() { make --no-print-directory BUILD="$EWC_BUILD" DESTDIR="$destination" PREFIX=$prefix "$@"; }
expect "make install" make_quietly install

installed() { test -f "$destination$prefix/$1" || { ls -lR "$destination"; return 1; }; }
version=$(sed -n 's/^#define EWC_VERSION_[A-Z]* //p' include/libewc.h | paste -sd .)
for file in include/libewc.h lib/libewc.a lib/libewc.so "lib/libewc.so.${version%%.*}" "lib/libewc.so.$version" \
    lib/pkgconfig/libewc.pc bin/ewc-cpt; do
    expect "$file is installed" installed "$file"
done

# The program is copied away from the sources, so that it can only find the installed header.
export PKG_CONFIG_SYSROOT_DIR=$destination PKG_CONFIG_PATH=$destination$prefix/lib/pkgconfig
cp examples/minimal/minimal.c "$TMPDIR/minimal.c"
cp examples/minimal/minimal.c "$TMPDIR/minimal.cc"
cd "$TMPDIR" || exit 1
warnings=(-Wall -Wextra -Wpedantic -Werror)

build() { # compiler and flags..., source, pkg-config options...
    local compiler=$1 standard=$2 source=$3 output=$4
    shift 4
    # shellcheck disable=SC2046
    "$compiler" "$standard" "${warnings[@]}" "$source" -o "$output" $(pkg-config "$@" --cflags --libs libewc)
}
run() { LD_LIBRARY_PATH=$destination$prefix/lib "./$1"; }
learns() { # the loss of the last step is below half of the first one's
    run "$1" > "$1.output" || { cat "$1.output"; return 1; }
    awk '/^step/ { last = $NF; if (first == "") first = last } END { exit !(first > 0 && last < first / 2) }' \
        "$1.output" || { cat "$1.output"; return 1; }
}
needs_shared() { readelf -d "$1" | grep -q 'NEEDED.*libewc\.so\.'; }

version_is() { [ "$(pkg-config --modversion libewc)" = "$version" ]; }
expect "pkg-config knows the version" version_is
expect "C program, shared library" build "$cc" -std=c11 minimal.c c-shared
expect "C++ program, shared library" build "$cxx" -std=c++17 minimal.cc cxx-shared
expect "the C program needs the shared library by its soname" needs_shared c-shared
expect "the C program trains with the shared library" learns c-shared
expect "the C++ program trains with the shared library" learns cxx-shared
expect "the installed driver runs" "$destination$prefix/bin/ewc-cpt" --help

# Where only the static library is installed, the same command links that.
mkdir shared && mv "$destination$prefix"/lib/libewc.so* shared
expect "C program, static library" build "$cc" -std=c11 minimal.c c-static --static
expect "C++ program, static library" build "$cxx" -std=c++17 minimal.cc cxx-static --static
refuse "the program with the static library needs no shared one" needs_shared c-static
expect "the C program trains with the static library" learns c-static
expect "the C++ program trains with the static library" learns cxx-static
same_output() { cmp c-shared.output c-static.output && cmp c-shared.output cxx-shared.output; }
expect "all of them print the same numbers" same_output
mv shared/* "$destination$prefix/lib"

cd - > /dev/null || exit 1
expect "make uninstall" make_quietly uninstall
nothing_left() { [ -z "$(find "$destination" ! -type d)" ] || { find "$destination" ! -type d; return 1; }; }
expect "uninstall leaves nothing behind" nothing_left
finish
