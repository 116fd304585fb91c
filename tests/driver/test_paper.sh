#!/bin/bash
# The tests in paper.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/paper.py"
