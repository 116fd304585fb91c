#!/bin/bash
# Every mutation's text is in the sources: one that no longer follows the code would guard nothing.
set -u
. tests/build/tap.sh
expect "mutations follow the code" python3 tests/mutations/run.py --texts
finish
