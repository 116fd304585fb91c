#!/bin/bash
# bench-step writes what bench/peer/compare.py reads: one short run on the smallest shape.
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
assert step["shape"] == "S" and step["threads"] == 2 and step["recompute"] == 1 and step["kernels"], step
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
finish
