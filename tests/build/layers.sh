#!/bin/bash
# Checks that no file reaches into a layer above its own (docs/architecture.md): layers.sh ROOT
# Looks at every #include with quotes; prints what is wrong and fails, or prints how many files it has seen.
set -u
cd "$1" || exit 1
faults=0 files=0

fault() { # file, text
    echo "layers: $1: $2" >&2
    faults=$((faults + 1))
}

# What a layer may include beside itself.
allowed() { # layer
    case $1 in
        public) ;;
        core) echo "public" ;;
        io) echo "core public" ;;
        ops) echo "core public" ;;
        cpu) echo "core ops public" ;;
        model) echo "io core ops public" ;;
        train) echo "model io core ops public" ;;
        api) echo "train model cpu io core ops public" ;;
        examples) echo "public" ;;
        tests/api | tests/driver) echo "tests/support public" ;;
    esac
}

layer_of() { # path of a file in the repository
    case $1 in
        include/*) echo public ;;
        lib/ops.h) echo ops ;;
        lib/*/*) local rest=${1#lib/}; echo "${rest%%/*}" ;;
        examples/*) echo examples ;;
        tests/*/*) local rest=${1#tests/}; echo "tests/${rest%%/*}" ;;
        *) echo "$1" ;;
    esac
}

# The file that an include names: beside the including file, in lib/, include/ or tests/.
resolve() { # including file, name
    local place
    for place in "$(dirname "$1")" lib include tests; do
        if [ -f "$place/$2" ]; then
            echo "${place#./}/$2"
            return
        fi
    done
}

while IFS= read -r file; do
    files=$((files + 1))
    layer=$(layer_of "$file")
    permitted="$layer $(allowed "$layer")"
    while IFS= read -r name; do
        target=$(resolve "$file" "$name")
        if [ -z "$target" ]; then
            fault "$file" "includes \"$name\", which is nowhere"
            continue
        fi
        case " $permitted " in
            *" $(layer_of "$target") "*) ;;
            *) fault "$file" "layer $layer must not include \"$name\" of layer $(layer_of "$target")" ;;
        esac
    done < <(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file")
done < <(find include lib examples tests/api tests/driver -name '*.[ch]' -o -name '*.cc' 2>/dev/null | sort)

# OpenMP's threads are used in one place, the BLAS in one layer, the standard library's output nowhere.
while IFS= read -r line; do fault "${line%%:*}" "threads are started in lib/core/threads.c alone: ${line#*:}"; done < <(
    grep -rnE '#[[:space:]]*pragma[[:space:]]+omp[[:space:]]+(parallel|task|sections)|<omp\.h>|pthread_create' lib |
        grep -v '^lib/core/threads\.c:')
while IFS= read -r line; do fault "${line%%:*}" "the BLAS is called in lib/cpu alone: ${line#*:}"; done < <(
    grep -rnE '<cblas\.h>' lib | grep -v '^lib/cpu/')
while IFS= read -r line; do fault "${line%%:*}" "the library never prints, exits or aborts: ${line#*:}"; done < <(
    grep -rnE '(^|[^a-zA-Z0-9_>.])(printf|puts|putchar|perror|exit|_exit|abort|setlocale|setenv|putenv|signal|sigaction) ?\(' \
        --include='*.c' lib | grep -vE '^[^:]*:[0-9]+:[[:space:]]*(/?\*|//)')

if [ "$faults" -gt 0 ]; then exit 1; fi
echo "layers: $files files in order"
