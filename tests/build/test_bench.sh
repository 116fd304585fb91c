#!/bin/bash
# bench-step writes what bench/peer/compare.py reads: one short run on the smallest shape. compare.py reads it, beside a peer whose
# numbers are made up.
set -u
. tests/build/tap.sh
step=$EWC_BUILD/bench-step
result=$TMPDIR/step.json

check() { # Python statements over `step`, the JSON object
    python3 - "$result" <<< "import json, math, sys; step = json.load(open(sys.argv[1]))
$1"
}
run() { "$step" --shape S --repetitions 1 --threads 2 --json "$result"; }

expect "a step on shape S is timed" run
expect "what was run is told" check '
assert step["shape"] == "S" and step["threads"] == 2 and step["recompute"] == 1 and step["state"] == "f32", step
assert step["kernels"] and step["products"], step
assert (step["sequences"], step["length"], step["tokens"], step["parameters"]) == (8, 256, 2048, 6953216), step'
expect "operations per token are those of the published comparison" check 'assert abs(step["flops_per_token"] / 43.8e6 - 1) < 2e-3, step'
expect "times add up" check '
assert 0 < step["forward_backward_seconds"] and 0 < step["update_seconds"], step
parts = step["forward_backward_seconds"] + step["update_seconds"]
assert abs(parts / step["step_seconds"] - 1) < 1e-6, step
assert abs(sum(p["seconds"] for p in step["phases"].values()) / step["step_seconds"] - 1) < 1e-6, step'
expect "rates are those of the times" check '
seconds = step["forward_backward_seconds"]
assert abs(step["gflops"] * 1e9 * seconds / (step["flops_per_token"] * step["tokens"]) - 1) < 1e-6, step
assert abs(step["sgemm_share"] * step["sgemm_gflops"] / step["gflops"] - 1) < 1e-6, step'
expect "the phases hold what is counted for the step" check '
work = {name: p["reached"] * 1e9 * p["seconds"] for name, p in step["phases"].items() if p.get("unit") == "GF/s"}
counted = sum(work.values()) - work["attention"] * (1 - 12 / 14) # the scores, computed again by the backward pass
assert abs(counted / (step["flops_per_token"] * step["tokens"]) - 1) < 1e-6, work'
expect "phases are told beside what is possible" check '
names = {"embed", "norm", "rope", "attention", "mlp_activation", "loss", "gemm_qkv", "gemm_attention_out", "gemm_mlp",
         "gemm_head", "clip", "update", "other"}
assert set(step["phases"]) == names, set(step["phases"]) ^ names
for name in names - {"other"}:
    phase = step["phases"][name]
    assert phase["unit"] == ("GF/s" if name.startswith("gemm") or name == "attention" else "GB/s"), phase
    assert phase["reached"] > 0 and phase["possible"] > 0, phase
    assert abs(phase["reached"] / phase["possible"] / phase["share"] - 1) < 1e-6, phase'
expect "the memory is what was planned" check 'assert 0.8 < step["peak_bytes"] / step["planned_bytes"] < 1.1, step'
refuse "a shape that does not exist" "$step" --shape Q
refuse "a file that cannot be written" "$step" --shape S --repetitions 1 --json "$TMPDIR/absent/step.json"

# A peer that takes twice the time and memory of libewc; compiled it fails, tuned it takes a fifth more than libewc.
mkdir "$TMPDIR/peer" "$TMPDIR/build"
cp bench/peer/compare.py "$TMPDIR/peer/"
cat > "$TMPDIR/peer/peer.py" << PEER
import json, os, sys
if "--compile" in sys.argv:
    sys.exit("Traceback\nexample.CompilerError: no compiler\nmore words")
peer = json.load(open("$result"))
peer.update(torch="0", transformers="0", step_seconds=peer["step_seconds"] * (1.2 if os.environ.get("MALLOC_TRIM_THRESHOLD_") else 2),
            peak_bytes=2 * peer["peak_bytes"])
json.dump(peer, open(sys.argv[sys.argv.index("--json") + 1], "w"))
PEER
printf '#!/bin/sh\nwhile [ "$1" != --json ]; do shift; done\ncp "%s" "$2"\n' "$result" > "$TMPDIR/build/bench-step"
chmod +x "$TMPDIR/build/bench-step"
compare() { python3 "$TMPDIR/peer/compare.py" --build "$TMPDIR/build" --shapes S --threads 2 "$@"; }
compares() { contains "$(compare --rounds 2 2>&1)" "$1"; }
expect "the comparison goes on without what fails" compare --rounds 1
expect "and names it" compares "S compiled: exit status 1: example.CompilerError: no compiler"
expect "the ratio to the peer as installed" compares "S: libewc / eager: 2.00 x tokens per second (target 1.8 x: met)"
expect "the ratio to the peer tuned" compares "S: libewc / eager-tuned: 1.20 x tokens per second (target 1.4 x: MISSED)"
expect "the ratio to the best peer" compares "S: libewc / best peer (eager-tuned): 1.20 x (target 1.15 x: met)"
expect "the ratio of memory" compares "S: peak resident size, libewc / eager: 50 %"
expect "the ratio of memory with recomputation" compares "S: peak resident size, libewc-recompute / eager: 50 %"
refuse "a comparison in which the whole peer fails" compare --rounds 1 --modes compiled,compiled-tuned
refuse "a comparison of a mode that does not exist" compare --modes fast
finish
