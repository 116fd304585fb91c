"""libewc and the peer on the same shapes with the same threads, in turn, each in a process of its own.

  run.sh [--shapes S,M,G] [--rounds N] [--modes eager,eager-tuned,compiled,compiled-tuned] [--threads N] [--repetitions N]
         [--recompute 0..3] [--state f32|bf16] [--json FILE]          EWC_BUILD: the build directory (default: build)

Per shape and round: bench-step, then the peer (peer.py) as it is installed and tuned, eager and compiled. Tuned means that glibc keeps
large blocks (MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_), which spares the peer page faults. Printed are medians over the
rounds, ratios as medians of each round's own, the largest of the resident sizes, and the targets. What fails is named
and left out; the exit status is 1 if for some shape libewc or all of the peer failed."""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MODES = ("eager", "eager-tuned", "compiled", "compiled-tuned")
KEPT = str(16 << 30)
TUNING = {"MALLOC_MMAP_THRESHOLD_": KEPT, "MALLOC_TRIM_THRESHOLD_": KEPT}
REPETITIONS = {"S": 7, "M": 3, "G": 3}
TIME_LIMIT = 3600
GIB = 1 << 30


def reason(output):
    """The line that names the exception, else the last one."""
    lines = output.strip().splitlines() or ["no message"]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*: ", line)]
    return (named or lines)[-1]


def measure(name, command, environment):
    """The JSON that the command writes, or None after saying what went wrong."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "result.json")
        try:
            done = subprocess.run([*command, "--json", str(path)], env={**os.environ, **environment}, capture_output=True, text=True,
                                  timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            print(f"{name}: not finished after {TIME_LIMIT} s", flush=True)
            return None
        if done.returncode == 0:
            return json.loads(path.read_text())
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        print(f"{name}: {how}: {reason(done.stderr or done.stdout)}", flush=True)
        return None


def libewc_command(arguments, shape):
    return [str(arguments.build / "bench-step"), "--shape", shape, "--threads", str(arguments.threads), "--recompute",
            str(arguments.recompute), "--state", arguments.state, "--repetitions", str(arguments.repetitions or REPETITIONS[shape])]


def peer_command(arguments, shape, mode):
    return [sys.executable, str(HERE / "peer.py"), "--shape", shape, "--threads", str(arguments.threads), "--repetitions",
            str(arguments.repetitions or REPETITIONS[shape]), *(["--compile"] if mode.startswith("compiled") else [])]


def check_same(ours, theirs):
    for field in ("parameters", "tokens", "threads"):
        if ours[field] != theirs[field]:
            raise SystemExit(f"{field} of shape {ours['shape']}: {ours[field]} in libewc, {theirs[field]} in the peer")


def run_shape(arguments, shape):
    """Results by name, one list entry per round, None where it failed."""
    results = {"libewc": [], **{mode: [] for mode in arguments.modes}}
    for number in range(arguments.rounds):
        for name in results:
            print(f"{shape}, round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            command = libewc_command(arguments, shape) if name == "libewc" else peer_command(arguments, shape, name)
            result = measure(f"{shape} {name}", command, TUNING if name.endswith("tuned") else {})
            if result is not None and name != "libewc" and results["libewc"][number] is not None:
                check_same(results["libewc"][number], result)
            results[name].append(result)
    return results


def median(results, value):
    return statistics.median(value(r) for r in results if r is not None)


def table_row(name, results, operations):
    r = [x for x in results if x is not None]
    tokens, parameters = r[0]["tokens"], r[0]["parameters"]
    rate = median(r, lambda x: operations * tokens / x["forward_backward_seconds"])
    step = median(r, lambda x: x["step_seconds"])
    update = median(r, lambda x: (x["step_seconds"] - x["forward_backward_seconds"]) / parameters)
    peak = max(x["peak_bytes"] for x in r)
    return (f"| {name:14} | {parameters / 1e6:8.1f} M | {tokens:6} | {rate / 1e9:12.0f} | {step:8.3f} | {tokens / step:8.0f} "
            f"| {1e9 * update:15.2f} | {peak / GIB:8.2f} |")


def ratio(ours, theirs):
    """Tokens per second of libewc over the peer's: the median of the rounds in which both ran."""
    pairs = [b["step_seconds"] / a["step_seconds"] for a, b in zip(ours, theirs) if a and b]
    return statistics.median(pairs) if pairs else None


def judged(value, target, at_least):
    return "met" if (value >= target if at_least else value <= target) else "MISSED"


def print_ratios(shape, results, recompute):
    ours = results["libewc"]
    speeds = {mode: ratio(ours, theirs) for mode, theirs in results.items() if mode != "libewc"}
    speeds = {mode: value for mode, value in speeds.items() if value is not None}
    targets = {"eager": 1.8, "eager-tuned": 1.4}
    for mode, value in speeds.items():
        target = f" (target {targets[mode]} x: {judged(value, targets[mode], True)})" if mode in targets else ""
        print(f"{shape}: libewc / {mode}: {value:.2f} x tokens per second{target}")
    if speeds:
        best = min(speeds, key=speeds.get)
        print(f"{shape}: libewc / best peer ({best}): {speeds[best]:.2f} x (target 1.15 x: {judged(speeds[best], 1.15, True)})")
    memory = max(r["peak_bytes"] for r in ours if r)
    for mode in speeds:
        share = memory / max(r["peak_bytes"] for r in results[mode] if r)
        limit = 0.35 if recompute >= 2 else 0.45
        target = f" (target {100 * limit:.0f} %: {judged(share, limit, False)})" if mode == "eager" and shape != "S" else ""
        print(f"{shape}: peak resident size, libewc / {mode}: {100 * share:.0f} %{target}")


def print_shape(shape, results, recompute):
    measured = {name: r for name, r in results.items() if any(r)}
    if "libewc" not in measured:
        return
    ours = next(r for r in results["libewc"] if r)
    print(f"\n{shape}: {ours['sequences']} x {ours['length']} tokens, {ours['flops_per_token'] / 1e6:.1f} M operations per token; "
          f"{ours['threads']} threads; {ours['processor']}; libewc: products {ours['products']}, recompute {ours['recompute']}, state {ours['state']}")
    peer = next((r for name in measured if name != "libewc" for r in results[name] if r), None)
    if peer:
        print(f"peer: transformers {peer['transformers']}, torch {peer['torch']}")
    print("|                |     params | tokens | fwd+bwd GF/s |   step s | tokens/s | update ns/param | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in measured.items():
        print(table_row(name, rows, ours["flops_per_token"]))
    share = median(results["libewc"], lambda r: r["sgemm_share"])
    print(f"{shape}: libewc's forward and backward: {100 * share:.0f} % of the sgemm rate of its run "
          f"(target 85 %: {judged(share, 0.85, True)})")
    print_ratios(shape, measured, recompute)
    sys.stdout.flush()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(os.environ.get("EWC_BUILD", "build")))
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["S", "M", "G"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--modes", type=lambda text: text.split(",") if text else [], default=list(MODES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repetitions", type=int, default=0, help="of a step in each process; default 7 for S, 3 for M and G")
    parser.add_argument("--recompute", type=int, default=1, choices=range(4))
    parser.add_argument("--state", default="f32", choices=["f32", "bf16"], help="libewc's moments, Fisher and anchor")
    parser.add_argument("--json", help="a file for all single results")
    arguments = parser.parse_args()
    unknown = [m for m in arguments.modes if m not in MODES] + [s for s in arguments.shapes if s not in REPETITIONS]
    if unknown or arguments.rounds < 1:
        parser.error(f"modes are {', '.join(MODES)}, shapes S, M and G, rounds at least 1; found {', '.join(unknown)}")
    return arguments


def main():
    arguments = parse()
    everything = {}
    for shape in arguments.shapes:
        everything[shape] = run_shape(arguments, shape)
        print_shape(shape, everything[shape], arguments.recompute)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(everything, indent=2) + "\n")
    ran = [{name for name, rows in results.items() if any(rows)} for results in everything.values()]
    return 0 if all("libewc" in names and len(names) > min(1, len(arguments.modes)) for names in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
