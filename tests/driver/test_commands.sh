#!/bin/bash
# The tests in commands.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/commands.py"
