"""The sequences that ewc-cpt reads: on resuming those of the run, --bos in everything that reads, how many an evaluation takes at a time."""

import json
import os
import subprocess

from harness import CPT, close, cpt, main, make_model, read_log, read_npy, refused, tokens, write_npy
from training import is_replayed

LENGTH, BOS = 16, 2


def train(out, *more, steps=2, rate=0, batch=1):
    return ["train", "--model", "m", "--data", "t.npy", "--length", LENGTH, "--batch", batch, "--steps", steps, "--lr", rate, "--quiet",
            "--threads", 1, "--out", out, *more]


def peak_memory(arguments):
    """Most MiB that ewc-cpt held."""
    with subprocess.Popen([CPT, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    return usage.ru_maxrss / 1024


def test_evaluating_in_training_needs_no_more_memory_than_a_step():
    make_model("m", hidden_size=64, intermediate_size=256, num_hidden_layers=4)
    write_npy("t.npy", tokens(5000))
    plain = peak_memory(train("plain"))
    for name, more in (("eval", ["--eval", "t=t.npy"]),
                       ("probe", ["--l2", "--forget-budget", "5%", "--forget-probe", "t.npy", "--forget-sequences", 300])):
        found = peak_memory(train(name, *more))
        assert found < plain + 16, f"{name}: {found:.0f} MiB, {plain:.0f} without"


def test_other_new_text_of_the_same_length_is_no_resumption():
    make_model("m")
    write_npy("t.npy", tokens(200))
    cpt(*train("o", "--save-every", 1))
    write_npy("t.npy", tokens(200, seed=2))
    refused(3, ["with fingerprint", "resume with the options"], *train("o", "--resume"))
    write_npy("t.npy", tokens(200))
    cpt(*train("o", "--resume"))


def scored(path):
    """The log-likelihoods that --bos scores of each sequence of a file; that these are the right ones is shown in commands.py."""
    out, _ = cpt("eval", "--model", "m", "--data", path, "--length", LENGTH, "--bos", "--per-token", "lp.npy", "--json", "--force")
    values = read_npy("lp.npy")[1]
    assert len(values) % LENGTH == 0
    return json.loads(out), [[v for v in values[i:i + LENGTH] if v != 0] for i in range(0, len(values), LENGTH)]


def mean(values):
    return -sum(values) / len(values)


def test_bos_is_in_everything_that_training_reads():
    make_model("m")
    write_npy("t.npy", [BOS] + tokens(150))
    # Of the second sequence of the old text nothing is scored: it counts in no mean, and is no failure where it is a pass by itself.
    write_npy("old.npy", tokens(16) + [BOS] * 15 + tokens(30, seed=3))
    values, whole = {}, {}
    for old, name in ((False, "t.npy"), (True, "old.npy")):
        whole[old], values[old] = scored(name)
    assert [len(v) for v in values[True]] == [15, 0, 15, 15]
    cpt(*train("o", "--bos", "--accumulate", 4, "--replay", "old.npy", "--replay-share", 0.5, "--eval", "old=old.npy", "--l2", "--forget-budget",
               "5%", "--forget-probe", "old.npy", "--log", "l.jsonl", steps=4))
    log = read_log("l.jsonl")
    of = {kind: [e for e in log if e["type"] == kind] for kind in ("step", "eval", "forget_probe")}
    for entry in of["eval"] + of["forget_probe"]:
        close(entry["nll"], whole[True]["nll"], 1e-6)
    assert of["eval"][0]["tokens"] == whole[True]["tokens"] == 45 and of["forget_probe"]
    for s, entry in enumerate(of["step"]):
        losses = {False: [], True: []}
        for k in range(4 * s, 4 * s + 4):
            old, number = is_replayed(0.5, k)
            chosen = values[old][number % len(values[old])]
            losses[old] += [mean(chosen)] if chosen else []
        assert entry["replay_sequences"] == 2
        close(entry["new_loss"], sum(losses[False]) / len(losses[False]), 1e-5)
        close(entry["replay_loss"], sum(losses[True]) / len(losses[True]), 1e-5)


def test_bos_belongs_to_the_run_that_is_resumed():
    make_model("m")
    write_npy("t.npy", tokens(200))
    for out, begun, resumed in (("with", ["--bos"], []), ("without", [], ["--bos"])):
        cpt(*train(out, *begun))
        refused(3, ["documents 0, bos", "resume with the options"], *train(out, "--resume", *resumed))
        cpt(*train(out, "--resume", *begun))


def test_a_model_without_bos_is_said_to_have_none():
    make_model("m", bos_token_id=None)
    write_npy("t.npy", tokens(200))
    reading = (train("o"), ["eval", "--model", "m", "--data", "t.npy", "--length", LENGTH],
               ["fisher", "--model", "m", "--data", "t.npy", "--length", LENGTH, "--sequences", 2, "--batch", 2, "--out", "f.safetensors"])
    for arguments in reading:
        for option in ("--bos", "--documents"):
            refused(3, [f"{option} needs BOS", "bos_token_id of its config.json is null", f"leave out {option}"], *arguments, option)
        cpt(*arguments)


def test_text_of_which_nothing_is_scored_is_named():
    make_model("m")
    write_npy("t.npy", tokens(200))
    write_npy("none.npy", [5] + [BOS] * 40)
    named = ["none.npy", "nothing is scored"]
    refused(3, named, "eval", "--model", "m", "--data", "n=none.npy", "--length", LENGTH, "--bos")
    refused(3, named, "fisher", "--model", "m", "--data", "none.npy", "--length", LENGTH, "--sequences", 2, "--batch", 2, "--bos", "--out", "f")
    for more in (["--eval", "n=none.npy"], ["--replay", "none.npy", "--replay-share", 0.5],
                 ["--l2", "--forget-budget", "5%", "--forget-probe", "none.npy"], ["--data", "none.npy"]):
        arguments = train("o", "--bos", *more)
        if more[0] == "--data":
            del arguments[3:5]
        refused(3, named, *arguments)
    cpt("eval", "--model", "m", "--data", "n=none.npy", "--length", LENGTH)


def test_files_of_one_sequence_and_of_one_token():
    make_model("m")
    write_npy("t.npy", tokens(LENGTH))
    evaluation = ["eval", "--model", "m", "--data", "t.npy", "--length", LENGTH, "--json"]
    refused(2, ["t.npy", f"more than {LENGTH} tokens", f"found {LENGTH}"], *evaluation)
    assert json.loads(cpt(*evaluation, "--bos")[0])["tokens"] == LENGTH - 1
    write_npy("one.npy", [96])
    assert 96 not in tokens(LENGTH)
    listed = len({0, 1, 2, 96, *tokens(LENGTH)})
    assert f"{listed} of 97 tokens" in cpt(*evaluation, "--bos", "--vocab-from", "t.npy", "one.npy")[1]


if __name__ == "__main__":
    main([test_bos_is_in_everything_that_training_reads, test_bos_belongs_to_the_run_that_is_resumed,
          test_a_model_without_bos_is_said_to_have_none, test_text_of_which_nothing_is_scored_is_named,
          test_files_of_one_sequence_and_of_one_token,
          test_evaluating_in_training_needs_no_more_memory_than_a_step,
          test_other_new_text_of_the_same_length_is_no_resumption])
