#!/bin/bash
# Checks a directory made by run.sh against transformers: continuations of prompts, tokens, log-likelihood of every token.
#   examples/get-model/check.sh [DIR]       DIR: default build/gemma-3-270m
# Needs PyTorch and transformers: the pinned ones of tests/transformers/requirements.txt are installed on first use (6 GB on
# disk), or EWC_PYTHON=/path/to/python names another Python that has them. About a minute; 4 GB of memory.
# Environment: EWC_BUILD (build directory), EWC_PYTHON.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export EWC_BUILD=${EWC_BUILD:-$root/build}

fail() { printf 'check: %s\n' "$*" >&2; exit 1; }

[ $# -le 1 ] || fail "too many arguments; usage: examples/get-model/check.sh [DIR]"
directory=${1:-$EWC_BUILD/gemma-3-270m}
[ -x "$EWC_BUILD/ewc-cpt" ] || fail "$EWC_BUILD/ewc-cpt is missing: run make first"
[ -f "$directory/model.safetensors" ] || fail "$directory/model.safetensors is missing: examples/get-model/run.sh makes it"

# shellcheck disable=SC2034 # environment.sh reads it.
environment_scripts=$root/tests/transformers
# shellcheck disable=SC1091 # It is checked by itself.
. "$environment_scripts/environment.sh"
environment_install
environment_run "$here/check.py" "$directory"
