#!/bin/bash
# The tests in get_model.py beside this file, with Debian's Python alone (what needs numpy is skipped without it).
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/get_model.py"
