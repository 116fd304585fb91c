"""libewc and the peer on the same shapes with the same threads, in turn, each in a process of its own.

  run.sh [--shapes S,M,G] [--rounds N] [--ours libewc,libewc-recompute,libewc-bf16,libewc-bf16-recompute]
         [--modes eager,eager-tuned,compiled,compiled-tuned] [--threads N] [--repetitions N] [--json FILE]
                                                     EWC_BUILD: the build directory (default: build)

Per shape and round: bench-step with its defaults and, for the memory, with whole layers computed again (or, if asked, with moments,
Fisher and anchor in bf16); then the peer (peer.py) as it is installed and tuned, eager and compiled. Tuned means that glibc keeps
large blocks (MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_), which spares the peer page faults. Printed are medians over the
rounds, ratios as medians of each round's own, the largest of the resident sizes, and the targets. What fails is named and
left out; the exit status is 1 if for some shape libewc or all of the peer failed."""

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
OURS = {"libewc": [], "libewc-recompute": ["--recompute", "3"], "libewc-bf16": ["--state", "bf16"],
        "libewc-bf16-recompute": ["--state", "bf16", "--recompute", "3"]}
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


def libewc_command(arguments, shape, name):
    return [str(arguments.build / "bench-step"), "--shape", shape, "--threads", str(arguments.threads), "--repetitions",
            str(arguments.repetitions or REPETITIONS[shape]), *OURS[name]]


def peer_command(arguments, shape, mode):
    return [sys.executable, str(HERE / "peer.py"), "--shape", shape, "--threads", str(arguments.threads), "--repetitions",
            str(arguments.repetitions or REPETITIONS[shape]), *(["--compile"] if mode.startswith("compiled") else [])]


def check_same(results):
    """All of them trained the same model on as many tokens."""
    ran = [row for rows in results.values() for row in rows if row]
    for field in ("parameters", "tokens", "threads"):
        if len({row[field] for row in ran}) > 1:
            raise SystemExit(f"{field} of shape {ran[0]['shape']} differ: {[row[field] for row in ran]}")


def run_shape(arguments, shape):
    """Results by name, one list entry per round, None where it failed."""
    results = {name: [] for name in arguments.ours + arguments.modes}
    for number in range(arguments.rounds):
        for name in results:
            print(f"{shape}, round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            command = (libewc_command if name in OURS else peer_command)(arguments, shape, name)
            results[name].append(measure(f"{shape} {name}", command, TUNING if name.endswith("tuned") else {}))
    check_same(results)
    return results


def median(results, value):
    return statistics.median(value(r) for r in results if r is not None)


def peak(results):
    return max(r["peak_bytes"] for r in results if r)


def table_row(name, results, operations):
    r = [x for x in results if x is not None]
    tokens, parameters = r[0]["tokens"], r[0]["parameters"]
    rate = median(r, lambda x: operations * tokens / x["forward_backward_seconds"])
    step = median(r, lambda x: x["step_seconds"])
    update = median(r, lambda x: (x["step_seconds"] - x["forward_backward_seconds"]) / parameters)
    return (f"| {name:21} | {parameters / 1e6:8.1f} M | {tokens:6} | {rate / 1e9:12.0f} | {step:8.3f} | {tokens / step:8.0f} "
            f"| {1e9 * update:15.2f} | {peak(r) / GIB:8.2f} |")


def judged(value, target, at_least):
    return "met" if (value >= target if at_least else value <= target) else "MISSED"


def print_speed(shape, name, ours, peers):
    """Tokens per second over each peer's: medians of the rounds in which both ran."""
    targets = {"eager": 1.8, "eager-tuned": 1.4}
    ratios = {mode: [b["step_seconds"] / a["step_seconds"] for a, b in zip(ours, theirs) if a and b]
              for mode, theirs in peers.items()}
    ratios = {mode: statistics.median(pairs) for mode, pairs in ratios.items() if pairs}
    for mode, value in ratios.items():
        target = f" (target {targets[mode]} x: {judged(value, targets[mode], True)})" if mode in targets else ""
        print(f"{shape}: {name} / {mode}: {value:.2f} x tokens per second{target}")
    if ratios:
        best = min(ratios, key=ratios.get)
        print(f"{shape}: {name} / best peer ({best}): {ratios[best]:.2f} x (target 1.15 x: {judged(ratios[best], 1.15, True)})")


def print_memory(shape, name, ours, peers):
    limit = 0.35 if name.endswith("recompute") else 0.45
    for mode, theirs in peers.items():
        share = peak(ours) / peak(theirs)
        target = f" (target {100 * limit:.0f} %: {judged(share, limit, False)})" if mode == "eager" and shape != "S" else ""
        print(f"{shape}: peak resident size, {name} / {mode}: {100 * share:.0f} %{target}")


def print_shape(shape, results):
    measured = {name: rows for name, rows in results.items() if any(rows)}
    ours = {name: rows for name, rows in measured.items() if name in OURS}
    peers = {name: rows for name, rows in measured.items() if name in MODES}
    if not ours:
        return
    first = next(r for rows in ours.values() for r in rows if r)
    print(f"\n{shape}: {first['sequences']} x {first['length']} tokens, {first['flops_per_token'] / 1e6:.1f} M operations per token; "
          f"{first['threads']} threads; {first['processor']}; libewc {first['version']}: products {first['products']}")
    for r in [r for rows in peers.values() for r in rows if r][:1]:
        print(f"peer: transformers {r['transformers']}, torch {r['torch']}")
    print("|                       |     params | tokens | fwd+bwd GF/s |   step s | tokens/s | update ns/param | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in measured.items():
        print(table_row(name, rows, first["flops_per_token"]))
    for name, rows in ours.items():
        if not name.endswith("recompute"):
            share = median(rows, lambda r: r["sgemm_share"])
            own = median(rows, lambda r: r["products_share"])
            print(f"{shape}: {name}: forward and backward at {100 * share:.0f} % of the sgemm rate of its run "
                  f"(target 85 %: {judged(share, 0.85, True)}), {100 * own:.0f} % of that of the library's products")
            print_speed(shape, name, rows, peers)
        print_memory(shape, name, rows, peers)
    sys.stdout.flush()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(os.environ.get("EWC_BUILD", "build")))
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["S", "M", "G"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours", type=lambda text: text.split(","), default=["libewc", "libewc-recompute"])
    parser.add_argument("--modes", type=lambda text: text.split(",") if text else [], default=list(MODES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repetitions", type=int, default=0, help="of a step in each process; default 7 for S, 3 for M and G")
    parser.add_argument("--json", help="a file for all single results")
    arguments = parser.parse_args()
    for option, known in (("shapes", REPETITIONS), ("ours", OURS), ("modes", MODES)):
        unknown = [name for name in getattr(arguments, option) if name not in known]
        if unknown:
            parser.error(f"--{option}: expected some of {','.join(known)}, found {','.join(unknown)}")
    if arguments.rounds < 1:
        parser.error("--rounds: expected at least 1")
    return arguments


def main():
    arguments = parse()
    everything = {}
    for shape in arguments.shapes:
        everything[shape] = run_shape(arguments, shape)
        print_shape(shape, everything[shape])
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(everything, indent=2) + "\n")
    ran = [{name for name, rows in results.items() if any(rows)} for results in everything.values()]
    return 0 if all(names & {*arguments.ours} and (names & {*MODES} or not arguments.modes) for names in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
