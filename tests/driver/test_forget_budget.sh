#!/bin/bash
# The tests in forget_budget.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/forget_budget.py"
