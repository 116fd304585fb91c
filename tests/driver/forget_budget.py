"""ewc-cpt train --forget-budget: budgets kept by the bundled model, log, resuming, a budget that cannot be kept, refusals."""

import os
import signal
import subprocess
import time

from harness import CPT, ROOT, TOKENIZER, cpt, interrupt_at, main, make_model, read_bytes, read_log, read_npy, refused, tokens, write_npy

LENGTH, BATCH = 8, 2


OLD_WORDS = "the old river runs slowly past a quiet village where children play near their houses while water falls over stones and light"
NEW_WORDS = "upė lėtai teka pro tylų kaimą kur vaikai žaidžia prie savo namų o vanduo krinta per akmenis ir šviesa"


def sentences(words, count):
    """Reproducible sentences of these words, each word mostly followed by one of a few."""
    state, at, lines = 1, 0, []
    for _ in range(count):
        line = []
        for _ in range(9):
            state = (state * 1103515245 + 12345) % 2**31
            at = (3 * at + 1 + state // 65536 % 4) % len(words)
            line.append(words[at])
        lines.append(" ".join(line).capitalize() + ".")
    return "\n".join(lines) + "\n"


def prepare():
    """A tiny model that knows the old text, and its Fisher; old and new text share no token: learning the new one makes the old one worse."""
    make_model("random")
    write_npy("old.npy", tokens(400, seed=9, vocabulary=50))
    cpt("train", "--model", "random", "--data", "old.npy", "--length", LENGTH, "--batch", 8, "--steps", 60, "--lr", 1e-2, "--quiet",
        "--save-dtype", "f32", "--out", "m")
    write_npy("new.npy", [46 + token for token in tokens(400, vocabulary=50)])
    cpt("fisher", "--model", "m", "--data", "old.npy", "--length", LENGTH, "--sequences", 40, "--batch", 5, "--out", "f.safetensors")


def command(out, *more, steps=40, budget="5%", rate=3e-3):
    return ["train", "--model", "m", "--fisher", "f.safetensors", "--data", "new.npy", "--length", LENGTH, "--batch", BATCH, "--steps", steps,
            "--lr", rate, "--quiet", "--threads", 1, "--save-dtype", "f32", "--log", out + ".jsonl", "--out", out, "--forget-budget",
                     budget,
            "--forget-probe", "old.npy", *more]


def of_type(log, kind):
    return [entry for entry in log if entry["type"] == kind]


def test_the_bundled_model_keeps_its_budgets_and_learns_more_with_larger_ones():
    model = os.path.join(ROOT, "examples/demo/model")
    for name, words in (("old", OLD_WORDS), ("new", NEW_WORDS)):
        with open(name + ".txt", "w", encoding="utf-8") as out:
            out.write(sentences(words.split(), 700))
        cpt("tokenize", "--tokenizer", TOKENIZER, "--out", name + ".npy", name + ".txt")
    write_npy("part.npy", read_npy("new.npy")[1][:500])
    sizes = ["--length", 32, "--batch", 4, "--steps", 40, "--lr", 2e-3, "--schedule", "cosine", "--warmup", 4, "--beta2", 0.99, "--clip", 1,
             "--quiet", "--threads", 1]
    # What the model is to keep it must know first.
    cpt("train", "--model", model, "--data", "old.npy", *sizes, "--out", "m")
    cpt("fisher", "--model", "m", "--data", "old.npy", "--length", 32, "--sequences", 32, "--batch", 8, "--threads", 1, "--out", "f.safetensors")
    losses, lambdas = [], []
    for budget in (0.02, 0.2):
        out, _ = cpt("train", "--model", "m", "--fisher", "f.safetensors", "--data", "new.npy", *sizes, "--eval", "new=part.npy", "--forget-sequences", 8,
                     "--forget-budget", budget, "--forget-probe", "old.npy", "--log", f"{budget}.jsonl", "--out", f"o{budget}")
        log = read_log(f"{budget}.jsonl")
        end = of_type(log, "forget_budget")[0]
        assert end["met"] is True and end["rise"] <= budget and (budget < 0.2 or end["rise"] > 0.4 * budget), end
        assert "met; lambda" in out and "NOT" not in out
        losses.append(of_type(log, "eval")[-1]["nll"])
        lambdas.append(end["lambda"])
    assert losses[0] > losses[1] and lambdas[0] > lambdas[1], (losses, lambdas)


def test_probes_and_the_lambda_of_every_step_are_in_the_log():
    prepare()
    cpt(*command("o", "--forget-every", 10, "--forget-sequences", 7))
    log = read_log("o.jsonl")
    probes, steps, end = of_type(log, "forget_probe"), of_type(log, "step"), of_type(log, "forget_budget")
    assert [p["step"] for p in probes][:6] == [0, 1, 2, 4, 8, 16] and probes[-1]["step"] == 40
    assert probes[0]["lambda"] == LENGTH  # a sequence has so many scored tokens
    in_force = {p["step"]: p["lambda"] for p in probes}
    for step in steps:
        last = max(s for s in in_force if s < step["step"])
        assert step["lambda"] == in_force[last], step
    assert len(end) == 1 and log[-2] == end[0] and log[-1]["type"] == "end"
    assert end[0]["first_nll"] == probes[0]["nll"] and end[0]["nll"] == probes[-1]["nll"]
    # Seven of the 49 sequences, evenly: numbers 0, 7, 14 ...
    ids = tokens(400, seed=9, vocabulary=50)
    chosen = [write_npy(f"{k}.npy", ids[7 * k * LENGTH:(7 * k + 1) * LENGTH + 1]) for k in range(7)]
    out, _ = cpt("eval", "--model", "m", "--length", LENGTH, "--json", "--data", *chosen)
    nll = [float(line.split('"nll": ')[1].split(",")[0]) for line in out.splitlines()]
    assert abs(sum(nll) / 7 - probes[0]["nll"]) < 1e-6


def test_lambda_is_where_to_begin_and_l2_has_no_other():
    prepare()
    cpt(*command("o", "--lambda", 3, "--relative"))
    cpt(*command("p", "--lambda", 3))
    first = [of_type(read_log(name + ".jsonl"), "forget_probe")[0]["lambda"] for name in "op"]
    assert first[0] > 30 and first[1] == 3, first
    arguments = command("l2", "--l2")
    del arguments[3:5]
    cpt(*arguments)
    log = read_log("l2.jsonl")
    assert of_type(log, "forget_probe")[0]["lambda"] == 0 and of_type(log, "forget_budget")[0]["met"]


def steps_logged(path):
    """Whole lines of steps in a log that may be growing; 0: there is no log yet."""
    return read_bytes(path).count(b'"type": "step"') if os.path.exists(path) else 0


def test_a_run_killed_again_and_again_is_the_uninterrupted_one():
    prepare()
    long_name = 20000 * "a"
    options = ["--schedule", "linear", "--order", "shuffle", "--eval", long_name + "=old.npy", "--eval-every", 1, "--forget-every", 2]
    cpt(*command("whole", *options, steps=40))
    arguments = [a for a in command("cut", *options, "--save-every", 1, steps=40) if a != "--quiet"]
    # After every one of the first steps, with its state saved and, killed at once, with that of the step before.
    for step in range(1, 9):
        interrupt_at(f"step {step}  a", arguments + ["--resume"] * (step > 1), signal.SIGKILL if step % 2 else signal.SIGINT)
    # And wherever it is after some more steps, inside of one or between a probe and its step; not at all, if it is faster than this test.
    arguments = [CPT, *map(str, arguments), "--resume", "--quiet"]
    for more in (1, 2, 3, 1):
        wanted = steps_logged("cut.jsonl") + more
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and steps_logged("cut.jsonl") < wanted:
                time.sleep(0.002)
            process.send_signal(signal.SIGINT)
        assert process.returncode in (0, 5), process.returncode
    cpt(*arguments[1:])
    assert read_bytes("cut/model.safetensors") == read_bytes("whole/model.safetensors")
    assert read_log("cut.jsonl") == read_log("whole.jsonl")
    # A run that has ended and is resumed says the same again.
    cpt(*arguments[1:])
    assert read_log("cut.jsonl") == read_log("whole.jsonl")


def test_another_budget_or_probe_is_not_resumed():
    prepare()
    cpt(*command("o"))
    refused(3, ["saved run", "--forget-budget 0.05", "0.06"], *command("o", "--resume", budget="6%"))
    refused(3, ["saved run", "3 sequences"], *command("o", "--resume", "--forget-sequences", 3))
    refused(3, ["o/training-state", "steps", "40", "50"], *command("o", "--resume", steps=50))
    plain = command("o", "--resume", "--lambda", 0)
    at = plain.index("--forget-budget")
    del plain[at:at + 4]
    refused(3, ["saved run", "no --forget-budget"], *plain)
    plain.remove("--resume")
    plain += ["--force"]
    cpt(*plain)
    refused(3, ["saved run had no --forget-budget"], *command("o", "--resume", "--lambda", 0))


def test_a_budget_that_cannot_be_kept_is_said_to_be_so():
    prepare()
    # In the gradient form weights jitter about their anchor by the learning rate, whatever lambda is: here by much.
    out, error = cpt(*command("o", "--penalty", "gradient", budget="0.0001%", rate=5e-2))
    end = of_type(read_log("o.jsonl"), "forget_budget")[0]
    assert end["met"] is False and end["rise"] > 1e-6, end
    assert "NOT met" in out and "budget was not met" in error and os.path.exists("o/model.safetensors")


def test_shares_and_wrong_options():
    prepare()
    for one, other in (("5%", "0.05"), ("0.5%", "5e-3")):
        cpt(*command("a", "--force", budget=one))
        cpt(*command("b", "--force", budget=other))
        assert read_bytes("a/model.safetensors") == read_bytes("b/model.safetensors")
    for budget in ("0", "2", "101%"):
        refused(2, ["--forget-budget", "share"], *command("x", budget=budget))
    for budget in ("-1", "x", "5%%"):
        refused(2, ["--forget-budget"], *command("x", budget=budget))
    arguments = command("x")
    refused(2, ["--forget-probe"], *arguments[:-2])
    refused(2, ["--fisher"], *(arguments[:3] + arguments[5:]))
    for option, value in (("--forget-probe", "old.npy"), ("--forget-every", "2"), ("--forget-sequences", "2")):
        refused(2, [option, "--forget-budget"], *(arguments[:-4] + ["--lambda", 1, option, value]))
    cpt("plan", *[argument for argument in command("x")[1:] if argument != "--quiet"])
    write_npy("far.npy", [3, 4, 5, 999] * 10, "<i4")
    refused(3, ["far.npy", "999"], *(arguments[:-1] + ["far.npy"]))
    write_npy("bos.npy", [2] * 100)
    refused(3, ["bos.npy", "nothing is scored"], *(arguments[:-1] + ["bos.npy", "--bos"]))
    write_npy("first.npy", [2] * 100 + tokens(400))  # of which one sequence is the first
    refused(3, ["--forget-probe first.npy", "--forget-sequences"], *(arguments[:-1] + ["first.npy", "--bos", "--forget-sequences", 1]))
    assert not os.path.exists("x")


main([
    test_the_bundled_model_keeps_its_budgets_and_learns_more_with_larger_ones,
    test_probes_and_the_lambda_of_every_step_are_in_the_log,
    test_lambda_is_where_to_begin_and_l2_has_no_other,
    test_a_run_killed_again_and_again_is_the_uninterrupted_one,
    test_another_budget_or_probe_is_not_resumed,
    test_a_budget_that_cannot_be_kept_is_said_to_be_so,
    test_shares_and_wrong_options,
])
