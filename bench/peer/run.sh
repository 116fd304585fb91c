#!/bin/sh
# Runs compare.py, or another Python program of this directory, with the packages of tests/transformers/requirements.txt. They
# are installed into a private virtual environment only if INSTALL=1 asks for it.
#   run.sh [PROGRAM.py] [ARGUMENTS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=compare.py
case ${1:-} in
*.py) program=$1; shift ;;
esac

environment_scripts=$here/../../tests/transformers
. "$environment_scripts/environment.sh"
if ! environment_present && [ "${INSTALL:-0}" != 1 ]; then
    echo "The comparison needs PyTorch and transformers in the versions of tests/transformers/requirements.txt, which are" \
        "not in $environment_directory. Either 'make bench-peer INSTALL=1' installs them there (about 3 GB to download," \
        "6 GB on disk), or EWC_PYTHON=/path/to/python names a Python that has them." >&2
    exit 1
fi
environment_install
environment_run "$here/$program" "$@"
