#!/bin/bash
# The public header alone compiles as strict C and C++, twice included, before and after other headers.
set -u
. tests/build/tap.sh
cc=${CC:-gcc} cxx=${CXX:-g++}
cat > "$TMPDIR/header.c" << 'EOF'
#include "libewc.h"
#include "libewc.h"
#include <string.h>
int main(void) {
    ewc_status status = EWC_OK;
    return status == EWC_OK && sizeof(ewc_batch) > 0 ? 0 : 1;
}
EOF
strict=(-Wall -Wextra -Wpedantic -pedantic-errors -Werror -Wshadow -Iinclude -fsyntax-only)
for standard in c11 c17; do
    expect "the header compiles as $standard" "$cc" -std=$standard "${strict[@]}" -Wstrict-prototypes "$TMPDIR/header.c"
done
for standard in c++11 c++17 c++20; do
    expect "the header compiles as $standard" "$cxx" -x c++ -std=$standard "${strict[@]}" -Wold-style-cast "$TMPDIR/header.c"
done
if command -v clang > /dev/null; then
    expect "the header compiles with clang" clang -std=c11 "${strict[@]}" "$TMPDIR/header.c"
fi

only_standard_headers() {
    ! grep -n '^#include' include/libewc.h | grep -vE '<(stddef|stdint)\.h>'
}
expect "the header includes nothing but <stddef.h> and <stdint.h>" only_standard_headers
finish
