#!/bin/sh
# Runs one of the Python programs of this directory (default: live.py) with the pinned packages of requirements.txt, which
# are installed into a private virtual environment on first use. EWC_PYTHON=/path/to/python uses that one instead.
#   run.sh [PROGRAM.py [ARGUMENTS]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=live.py
case ${1:-} in
*.py) program=$1; shift ;;
esac

if [ -z "${EWC_PYTHON:-}" ]; then
    environment=${XDG_CACHE_HOME:-$HOME/.cache}/libewc/venv
    stamp=$environment/requirements.installed
    if ! cmp -s "$here/requirements.txt" "$stamp"; then
        echo "Installing the packages of tests/transformers/requirements.txt into $environment" \
            "(about 3 GB to download, 6 GB on disk)" >&2
        python3 -m venv "$environment"
        "$environment/bin/python" -m pip install --quiet --no-deps -r "$here/requirements.txt"
        cp "$here/requirements.txt" "$stamp"
    fi
    EWC_PYTHON=$environment/bin/python
fi
HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 exec "$EWC_PYTHON" "$here/$program" "$@"
