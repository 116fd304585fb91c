#!/bin/bash
# Checks that no file reaches into a layer above its own (docs/architecture.md): layers.sh ROOT
# Looks at every #include with quotes; prints what is wrong and fails, or prints how many files it has seen.
set -u
cd "$1" || exit 1
faults=0

fault() { # file, text
    echo "layers: $1: $2" >&2
    faults=$((faults + 1))
}

# What a layer may include beside itself. (The functions answer in REPLY: a subshell for each would take seconds.)
allowed() { # layer
    case $1 in
        core) REPLY="public" ;;
        io | ops) REPLY="core public" ;;
        cpu) REPLY="core ops public" ;;
        model) REPLY="io core ops public" ;;
        train) REPLY="model io core ops public" ;;
        api) REPLY="train model cpu io core ops public" ;;
        examples) REPLY="public" ;;
        tests/api | tests/driver) REPLY="tests/support public" ;;
        *) REPLY="" ;;
    esac
}

layer_of() { # path of a file in the repository
    local rest
    case $1 in
        include/*) REPLY=public ;;
        lib/ops.h) REPLY=ops ;;
        lib/*/*) rest=${1#lib/} REPLY=${rest%%/*} ;;
        examples/*) REPLY=examples ;;
        tests/*/*) rest=${1#tests/} REPLY=tests/${rest%%/*} ;;
        *) REPLY=$1 ;;
    esac
}

# The file that an include names: beside the including file, in lib/, include/ or tests/; empty when there is none.
resolve() { # including file, name
    local place
    for place in "${1%/*}" lib include tests; do
        REPLY=$place/$2
        [ -f "$REPLY" ] && return
    done
    REPLY=
}

check_include() { # including file, name
    local layer target permitted
    layer_of "$1" && layer=$REPLY
    allowed "$layer" && permitted=" $layer $REPLY "
    resolve "$1" "$2" && target=$REPLY
    if [ -z "$REPLY" ]; then
        fault "$1" "includes \"$2\", which is nowhere"
        return
    fi
    layer_of "$target"
    case $permitted in
        *" $REPLY "*) ;;
        *) fault "$1" "layer $layer must not include \"$2\" of layer $REPLY" ;;
    esac
}

directories=()
for directory in include lib examples tests/api tests/driver; do [ -d "$directory" ] && directories+=("$directory"); done
sources=(--include='*.c' --include='*.h' --include='*.cc')
files=$(grep -rlc '' "${sources[@]}" "${directories[@]}" | wc -l)
include='^[[:space:]]*#[[:space:]]*include[[:space:]]*"'
while IFS=: read -r file line; do
    name=${line#*\"}
    check_include "$file" "${name%%\"*}"
done < <(grep -r "$include" "${sources[@]}" "${directories[@]}")

# Threads are started in one place (oneDNN is kept from starting any in its own file), the BLAS in one layer, the standard library's output nowhere.
while IFS= read -r line; do fault "${line%%:*}" "threads are started in lib/core/pool.c alone: ${line#*:}"; done < <(
    grep -rnE '#[[:space:]]*pragma[[:space:]]+omp[[:space:]]+(parallel|task|sections)|<omp\.h>|pthread_create' lib |
        grep -vE '^lib/(core/pool|cpu/onednn)\.c:')
while IFS= read -r line; do fault "${line%%:*}" "the BLAS is called in lib/cpu alone: ${line#*:}"; done < <(
    grep -rnE '<cblas\.h>' lib | grep -v '^lib/cpu/')
while IFS= read -r line; do fault "${line%%:*}" "the library never prints, exits or aborts: ${line#*:}"; done < <(
    grep -rnE '(^|[^a-zA-Z0-9_>.])(printf|puts|putchar|perror|exit|_exit|abort|setlocale|setenv|putenv|signal|sigaction) ?\(' \
        --include='*.c' lib | grep -vE '^[^:]*:[0-9]+:[[:space:]]*(/?\*|//)')

if [ "$faults" -gt 0 ]; then exit 1; fi
echo "layers: $files files in order"
