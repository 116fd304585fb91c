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

environment_scripts=$here
. "$here/environment.sh"
environment_install
environment_run "$here/$program" "$@"
