#!/bin/bash
# bench-scaling counts what its points take, keeps to the memory it may use, and writes what bench/plot.py draws: short runs.
set -u
. tests/build/tap.sh
scaling=$EWC_BUILD/bench-scaling
result=$TMPDIR/scaling.json

run() { "$scaling" --repetitions 1 --threads 2 --json "$result" "$@" > "$TMPDIR/output" 2>&1 || { cat "$TMPDIR/output"; return 1; }; }
check() { # Python statements over `points`, those of the one curve that was run
    python3 - "$result" <<< "import json, sys
results = json.load(open(sys.argv[1]))
((name, curve),) = results['curves'].items()
points = curve['points']
def operations(vocab, hidden, layers, heads, kv_heads, head_dim, intermediate, window, lengths):
    weights = vocab * hidden + layers * hidden * ((2 * heads + 2 * kv_heads) * head_dim + 3 * intermediate)
    pairs = sum(min(i + 1, window) if layer % 2 == 0 else i + 1 for layer in range(layers) for n in lengths for i in range(n))
    return 6 * weights * sum(lengths) + 12 * head_dim * heads * pairs
def close(a, b):
    return abs(a / b - 1) < 1e-6
$1"
}
draw() { python3 bench/plot.py "$result" "$TMPDIR/scaling.svg"; }
panels() { # how many are in the picture, which is well-formed
    python3 - "$TMPDIR/scaling.svg" <<< "import sys, xml.etree.ElementTree as tree
lines = [e for e in tree.parse(sys.argv[1]).iter() if e.get('class') == 'line']
assert len(lines) == $1, len(lines)"
}

expect "lengths from 256 are run with the same tokens in a step" run --curve length --elements 1024
expect "and named" check 'assert name == "length" and [p["place"] for p in points] == [256, 512, 1024], points
assert all(p["tokens"] == 1024 and p["tokens"] == p["place"] * p["sequences"] for p in points), points'
expect "operations are counted under the mask" check 'for p in points:
    lengths = [int(p["place"])] * int(p["sequences"])
    assert close(p["flops"], operations(8192, 512, 4, 8, 4, 64, 2048, 512, lengths)), p'
expect "what operations explain begins with the first point" check 'for p in points:
    assert close(p["explained_tokens_per_second"], points[0]["tokens_per_second"] * points[0]["flops"] / p["flops"]), p
    assert close(p["of_explained"] * p["explained_tokens_per_second"], p["tokens_per_second"]), p'
expect "the curve is drawn" draw
expect "in one panel" panels 1

expect "documents are packed into one sequence" run --curve documents --elements 256
expect "and are what tokens see" check 'assert [p["place"] for p in points] == [256, 64], points
for p in points:
    assert p["sequences"] == 1 and p["documents_per_sequence"] == 256 / p["place"], p
    lengths = [int(p["place"])] * int(p["documents_per_sequence"])
    assert close(p["flops"], operations(8192, 512, 4, 8, 4, 64, 2048, 512, lengths)), p'

expect "models that do not fit lose layers" run --curve parameters --memory 1
expect "which is said" grep -q "^parameters: hidden 1024 with 3 layers needs .* the most that fit are 1, " "$TMPDIR/output"
expect "or are left out" grep -q "^parameters: hidden 2048 with 3 layers needs .*: left out" "$TMPDIR/output"
expect "parameters grow fourfold until then" check 'counts = [p["parameters"] for p in points]
assert len(counts) == 4 and all(3.9 < b / a < 4.1 for a, b in zip(counts[:3], counts[1:3])), counts
assert all(p["update_ns_per_parameter"] > 0 and p["gflops"] > 0 for p in points), points'
expect "both of its panels are drawn" draw
expect "as two" panels 2
refuse "a curve that does not exist" run --curve width
finish
