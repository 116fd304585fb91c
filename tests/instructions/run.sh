#!/bin/bash
# Counts the instructions of the hot loops and compares them with expected.txt: see instructions.py.
exec python3 tests/instructions/instructions.py
