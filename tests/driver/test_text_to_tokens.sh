#!/bin/bash
# The tests in text_to_tokens.py beside this file, with Debian's Python alone.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/text_to_tokens.py"
