#!/bin/bash
# The tests in sequences.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/sequences.py"
