#!/bin/bash
# The tests in demo_text.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/demo_text.py"
