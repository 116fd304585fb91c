#!/bin/bash
# The tests in corpora_text.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/corpora_text.py"
