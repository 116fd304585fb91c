#!/bin/bash
# The order of layers is kept, and the check for it notices when it is not.
set -u
. tests/build/tap.sh
expect "no file reaches into a layer above its own" tests/build/layers.sh .

# A copy with one fault must be refused, for the right reason.
fault() { # file, line, expected message
    local copy=$TMPDIR/copy output
    rm -rf "$copy"
    mkdir "$copy" && cp -r include lib tests examples "$copy" || return 1
    mkdir -p "$copy/$(dirname "$1")"
    printf '%s\n' "$2" >> "$copy/$1"
    if output=$(tests/build/layers.sh "$copy" 2>&1); then
        echo "accepted: $2 in $1"
        return 1
    fi
    contains "$output" "$3"
}
mkdir "$TMPDIR/empty"
expect "core may not use the model" fault lib/core/fault.c '#include "model/model.h"' 'layer core must not include'
expect "the model may not use a backend" fault lib/model/fault.c '#include "cpu/fault.h"' 'is nowhere'
expect "io may not use the operation table" fault lib/io/fault.c '#include "ops.h"' 'layer io must not include'
expect "an example may not use internals" fault examples/minimal/minimal.c '#include "core/memory.h"' 'layer examples'
expect "a test of the API may not use internals" fault tests/api/fault.c '#include "core/memory.h"' 'layer tests/api'
expect "threads are started in one place" fault lib/cpu/fault.c '#pragma omp parallel for' 'lib/core/pool.c alone'
expect "the BLAS is called in one layer" fault lib/model/fault.c '#include <cblas.h>' 'lib/cpu alone'
expect "the library does not print" fault lib/io/fault.c '    printf("x");' 'never prints'
expect "the library does not exit" fault lib/io/fault.c '    exit(1);' 'never prints, exits'
finish
