# Sourced by the scripts of this directory: each `expect` is one test, reported in TAP for tests/run.
# shellcheck shell=bash
tap_failed=0

# expect NAME COMMAND...: the command must succeed; its output is shown when it does not.
expect() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok - $name"
    else
        echo "not ok - $name"
        printf '%s\n' "$output" | sed 's/^/#   /'
        tap_failed=1
    fi
}

# refuse NAME COMMAND...: the command must fail.
refuse() {
    local name=$1
    shift
    expect "$name" fails "$@"
}
fails() {
    if "$@"; then
        echo "succeeded, but should have failed: $*"
        return 1
    fi
}

contains() { # text, fixed string
    case $1 in
        *"$2"*) ;;
        *) printf 'not found: %s\nin: %s\n' "$2" "$1"; return 1 ;;
    esac
}

finish() { exit "$tap_failed"; }
