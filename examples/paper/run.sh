#!/bin/bash
# The paper's experiment: a model learns Lithuanian and should keep its English. Runs the whole study of one size, or what is left of it:
#   examples/paper/run.sh small    the bundled model, three seeds, about an hour on two cores
#   examples/paper/run.sh real     Gemma 3 270M, some hours on two cores
# See run.sh --help; the tables of runs are small.toml and real.toml beside this file, the results docs/results/.
set -eu
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
command -v python3 > /dev/null || { echo "run.sh: python3 is missing: apt-get install python3" >&2; exit 1; }
exec python3 "$(dirname "$0")/study.py" "$@"
