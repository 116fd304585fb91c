"""ewc-cpt train: order of the data, log, evaluations, saved model, penalty, resuming, interruption, refusals."""

import glob
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import time
from fractions import Fraction

from harness import CPT, VOCABULARY, close, cpt, interrupt_at, main, make_model, read_bytes, read_log, read_npy, refused, tokens, write_npy

LENGTH, BATCH = 8, 2


def prepare(count=100):
    make_model("m")
    write_npy("t.npy", tokens(count))
    write_npy("old.npy", tokens(100, seed=9))


def command(out, *more, steps=6, rate=1e-2):
    return ["train", "--model", "m", "--data", "t.npy", "--length", LENGTH, "--batch", BATCH, "--steps", steps, "--lr", rate, "--quiet",
            "--threads", 1, "--out", out, *more]


def steps_of(path):
    return [entry for entry in read_log(path) if entry["type"] == "step"]


def test_steps_take_the_next_sequences_and_wrap():
    prepare(LENGTH * 10 + 1)
    cpt("eval", "--model", "m", "--data", "t=t.npy", "--length", LENGTH, "--per-token", "lp.npy")
    values = read_npy("lp.npy")[1]
    # With a learning rate of 0 the loss of a step is that of its sequences under the first weights: 4 of 10 sequences a step.
    cpt(*command("o", "--accumulate", 2, "--log", "l.jsonl", steps=5, rate=0))
    for s, entry in enumerate(steps_of("l.jsonl")):
        chosen = [values[k % 10 * LENGTH + i] for k in range(4 * s, 4 * s + 4) for i in range(LENGTH)]
        close(entry["loss"], -sum(chosen) / len(chosen), 1e-5)
        assert entry["tokens"] == 4 * LENGTH and entry["step"] == s + 1


def is_replayed(share, k):
    """Whether sequence number k of the mixture is old, and which of its text it is."""
    old, after = (math.floor(Fraction(share) * n + Fraction(1, 2)) for n in (k, k + 1))
    return after > old, old if after > old else k - old


def test_replay_takes_its_share_of_every_step():
    prepare(LENGTH * 10 + 1)
    cpt("eval", "--model", "m", "--data", "t=t.npy", "--length", LENGTH, "--per-token", "new.npy")
    cpt("eval", "--model", "m", "--data", "old=old.npy", "--length", LENGTH, "--per-token", "replay.npy")
    values = {False: read_npy("new.npy")[1], True: read_npy("replay.npy")[1]}
    for share in (0.05, 0.25, 0.3, 0.9):
        cpt(*command("o", "--accumulate", 3, "--replay", "old.npy", "--replay-share", share, "--log", "l.jsonl", "--force", steps=12, rate=0))
        steps = steps_of("l.jsonl")
        for s, entry in enumerate(steps):
            chosen = {False: [], True: []}
            for k in range(6 * s, 6 * s + 6):
                old, number = is_replayed(share, k)
                number %= len(values[old]) // LENGTH
                chosen[old] += values[old][number * LENGTH:(number + 1) * LENGTH]
            replayed = len(chosen[True]) // LENGTH
            assert entry["replay_sequences"] == replayed and entry["tokens"] == 6 * LENGTH
            assert abs(replayed - 6 * share) < 1
            close(entry["loss"], -sum(sum(chosen.values(), [])) / (6 * LENGTH), 1e-5)
            for old, field in ((False, "new_loss"), (True, "replay_loss")):
                if chosen[old]:
                    close(entry[field], -sum(chosen[old]) / len(chosen[old]), 1e-5)
                else:
                    assert entry[field] is None
        assert abs(sum(e["replay_sequences"] for e in steps) - 72 * share) <= 0.5
    cpt(*command("plain", "--log", "plain.jsonl"))
    assert all("replay_sequences" not in entry for entry in steps_of("plain.jsonl"))


def test_several_files_are_one_stream():
    prepare()
    ids = tokens(100)
    write_npy("a.npy", ids[:37])
    write_npy("b.npy", ids[37:], "<i4")
    cpt(*command("whole", "--save-dtype", "f32"))
    arguments = command("parts", "--save-dtype", "f32")
    arguments[4:5] = ["a.npy", "b.npy"]
    cpt(*arguments)
    assert read_bytes("whole/model.safetensors") == read_bytes("parts/model.safetensors")


def test_shuffled_order_covers_all_and_follows_the_seed():
    prepare(LENGTH * 10 + 1)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cpt(*command(name, "--order", "shuffle", "--seed", seed, "--log", name + ".jsonl", steps=5, rate=0))
    losses = [[entry["loss"] for entry in steps_of(name + ".jsonl")] for name in "abc"]
    assert losses[0] == losses[1] != losses[2]
    close(sum(losses[0]), sum(losses[2]), 1e-6)


def test_training_learns_logs_and_evaluates():
    prepare()
    out, _ = cpt(*command("o", "--eval", "new=t.npy", "--eval", "old=old.npy", "--eval-every", 4, "--log", "l.jsonl", "--schedule", "cosine",
                          "--warmup", 2, "--clip", 1, steps=10))
    log = read_log("l.jsonl", timing=True)
    assert [(e["step"], e["name"]) for e in log if e["type"] == "eval"] == [
        (step, name) for step in (0, 4, 8, 10) for name in ("new", "old")]
    steps = [e for e in log if e["type"] == "step"]
    assert [e["step"] for e in steps] == list(range(1, 11))
    for field in ("loss", "penalty", "gradient_norm", "clip_factor", "learning_rate", "distance", "fisher_distance", "seconds"):
        assert all(isinstance(e[field], (int, float)) for e in steps), field
    close(steps[0]["learning_rate"], 5e-3, 1e-12)
    close(steps[1]["learning_rate"], 1e-2, 1e-12)
    assert all(e["clip_factor"] <= 1 for e in steps)
    first, last = [[e for e in log if e["type"] == "eval" and e["name"] == "new"][i]["nll"] for i in (0, -1)]
    assert last < first - 0.1
    assert log[-1]["type"] == "end"
    # What is saved is what was evaluated last, up to the rounding to bf16.
    result = json.loads(cpt("eval", "--model", "o", "--data", "new=t.npy", "--length", LENGTH, "--json")[0])
    close(result["nll"], last, 1e-2)
    assert f"{2.718281828459045 ** last:.4f}" in out


def header_of(path):
    data = read_bytes(path)
    return json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])


def test_the_result_is_a_model_directory():
    prepare()
    with open("m/tokenizer.model", "wb") as file:
        file.write(b"tokenizer bytes")
    for dtype, name in (("bf16", "BF16"), ("f32", "F32")):
        cpt(*command(dtype, "--save-dtype", dtype))
        header = header_of(f"{dtype}/model.safetensors")
        assert {e["dtype"] for n, e in header.items() if n != "__metadata__"} == {name}
        assert read_bytes(f"{dtype}/tokenizer.model") == b"tokenizer bytes"
        with open(f"{dtype}/config.json", encoding="utf-8") as file:
            assert json.load(file)["model_type"] == "gemma2"
        cpt("eval", "--model", dtype, "--data", "t.npy", "--length", LENGTH)
    assert not glob.glob("*.tmp*") and not glob.glob("*/*.tmp*")


def test_penalty_holds_the_weights():
    prepare()
    cpt("fisher", "--model", "m", "--data", "old.npy", "--length", LENGTH, "--sequences", 10, "--batch", 5, "--estimator", "empirical", "--out",
        "f.safetensors")
    ends = {}
    for strength in (0, 1e9):
        for form in ("proximal", "gradient"):
            name = f"{form}-{strength:g}"
            cpt(*command(name, "--fisher", "f.safetensors", "--lambda", strength, "--penalty", form, "--anchor", "m", "--log", name + ".jsonl",
                         "--save-dtype", "f32", steps=20))
            ends[name] = read_log(name + ".jsonl")[-1]
    assert ends["proximal-0"]["penalty"] == 0 and ends["proximal-0"]["distance"] > 0
    assert ends["proximal-1e+09"]["fisher_distance"] < 0.1 * ends["proximal-0"]["fisher_distance"]
    cpt(*command("plain", "--save-dtype", "f32", steps=20))
    assert read_bytes("plain/model.safetensors") == read_bytes("proximal-0/model.safetensors")
    assert read_bytes("plain/model.safetensors") == read_bytes("gradient-0/model.safetensors")
    make_model("other", seed=2)
    refused(3, ["Fisher", "anchor"], *command("x", "--fisher", "f.safetensors", "--lambda", 1, "--anchor", "other"))


def test_a_resumed_run_is_the_uninterrupted_one():
    prepare()
    options = ["--schedule", "linear", "--save-dtype", "f32", "--eval", "old=old.npy", "--eval-every", 100, "--save-every", 50, "--order",
               "shuffle", "--beta2", 0.99, "--clip", 1]
    cpt(*command("whole", "--log", "whole.jsonl", *options, steps=600))
    arguments = command("cut", "--log", "cut.jsonl", *options, steps=600)
    with subprocess.Popen([CPT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not glob.glob("cut/training-state/step-*[0-9]"):
            assert process.poll() is None, "ended before it was interrupted"
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 5, (process.returncode, error)
    assert "--resume" in error and not os.path.exists("cut/model.safetensors")
    refused(3, ["cut", "--resume", "--force"], *arguments)
    cpt(*arguments, "--resume")
    assert read_bytes("cut/model.safetensors") == read_bytes("whole/model.safetensors")
    assert read_log("cut.jsonl") == read_log("whole.jsonl")
    assert sorted(os.listdir("cut/training-state")) == ["step-00000550", "step-00000600"]


def aloud(arguments):
    return [a for a in arguments if a != "--quiet"]


def test_an_interrupted_evaluation_is_made_again():
    prepare()
    first = 20000 * "a"
    arguments = aloud(command("cut", "--eval", first + "=t.npy", "--eval", "b=old.npy", "--eval-every", 4, "--save-dtype", "f32", "--log",
                              "cut.jsonl", steps=8))
    whole = ["whole" if a == "cut" else "whole.jsonl" if a == "cut.jsonl" else a for a in arguments]
    summary = cpt(*whole)[0].splitlines()[1:]
    # The first evaluation, one between steps, the same again, and the last, each between its two data sets.
    for step, resume in ((0, []), (4, ["--resume"]), (4, ["--resume"]), (8, ["--resume"])):
        interrupt_at(f"step {step}  a", arguments + resume)
        last = read_log("cut.jsonl")[-1]
        assert (last["type"], last["step"], last["name"]) == ("eval", step, first)
        if step == 4:  # as a power cut may leave it
            with open("cut.jsonl", "a", encoding="utf-8") as file:
                file.write('{"type": "eval", "step": 4, "name": "b", "nll": 3.1')
    # To the end; again, with nothing left to do; and again without any state, as if interrupted before the first step.
    for have_state in (True, True, False):
        if not have_state:
            shutil.rmtree("cut/training-state")
        assert cpt(*arguments, "--resume")[0].splitlines()[1:] == summary
        assert read_log("cut.jsonl") == read_log("whole.jsonl")
        assert read_bytes("cut/model.safetensors") == read_bytes("whole/model.safetensors")


def test_a_whole_evaluation_is_not_made_again():
    prepare()
    arguments = aloud(command("o", "--eval", 'a"b=t.npy', "--eval", "c=old.npy", "--eval-every", 4, "--save-every", 4, "--log", "l.jsonl",
                              steps=8))
    cpt(*arguments)
    whole = read_log("l.jsonl")
    for torn in (False, True):
        shutil.rmtree("o/training-state/step-00000008")
        if torn:
            text = read_bytes("l.jsonl")
            with open("l.jsonl", "wb") as file:
                file.write(text[:text.index(b'"name": "c"', text.index(b'"step": 4,')) + 30])
        error = cpt(*arguments, "--resume")[1]
        assert ("step 4  c" in error) == torn, error
        assert read_log("l.jsonl") == whole
    shutil.rmtree("o/training-state/step-00000008")
    cpt(*["d=old.npy" if a == "c=old.npy" else a for a in arguments], "--resume")
    assert [e["name"] for e in read_log("l.jsonl") if e["type"] == "eval"] == ['a"b', "c", 'a"b', "d", 'a"b', "d"]


def test_a_run_with_replay_cut_after_every_step_is_the_uninterrupted_one():
    prepare()
    first = 20000 * "a"
    arguments = aloud(command("cut", "--accumulate", 2, "--replay", "old.npy", "--replay-share", 0.3, "--order", "shuffle", "--seed", 5,
                              "--eval", first + "=t.npy", "--eval-every", 1, "--save-dtype", "f32", "--log", "cut.jsonl", steps=7))
    _, error = cpt(*("whole" if a == "cut" else "whole.jsonl" if a == "cut.jsonl" else a for a in arguments))
    assert "8 of the run's 28 sequences are replayed, out of 12: 0.667 passes" in error, error[:300]
    for step in range(7):
        interrupt_at(f"step {step}  a", arguments + ["--resume"] * (step > 0))
    cpt(*arguments, "--resume")
    assert read_log("cut.jsonl") == read_log("whole.jsonl")
    assert read_bytes("cut/model.safetensors") == read_bytes("whole/model.safetensors")


def test_what_to_know_of_a_replay_is_told():
    prepare()
    shutil.copy("old.npy", "heldout.npy")
    replay = ["--replay", "old.npy", "--replay-share", 0.25]
    _, error = cpt(*command("a", *replay, "--eval", "old=./old.npy", "--eval", "new=t.npy"))
    assert error.count("old.npy is replayed and evaluated") == 1, error
    _, error = cpt(*command("b", *replay, "--eval", "old=heldout.npy"))
    assert error == "", error
    for order, told in (("sequential", True), ("shuffle", False)):
        _, error = cpt(*aloud(command(order, *replay, "--order", order)))
        assert "3 of the run's 12 sequences are replayed, out of 12: 0.25 passes" in error, error
        assert ("its beginning alone (--order shuffle" in error) == told, error
    _, error = cpt(*aloud(command("passes", *replay, steps=30)))
    assert "15 of the run's 60 sequences are replayed, out of 12: 1.25 passes" in error and "beginning" not in error, error


def test_replay_is_refused_by_name():
    prepare()
    write_npy("short.npy", tokens(LENGTH))
    write_npy("outside.npy", tokens(40) + [VOCABULARY + 3] + tokens(40))
    write_npy("another.npy", tokens(100, seed=10))  # as long as old.npy
    replay = ["--replay", "old.npy", "--replay-share", 0.25]
    refused(2, ["--replay needs --replay-share"], *command("x", "--replay", "old.npy"))
    refused(2, ["--replay-share needs --replay"], *command("x", "--replay-share", 0.1))
    for share in (0, 1, 1.5):
        refused(2, ["--replay-share", "above 0 and below 1", f"found {share}"], *command("x", *replay[:3], share))
    refused(2, ["--replay-share", "at least 0"], *command("x", *replay[:3], -0.1))
    refused(2, ["--replay-share 0.01", "12 sequences"], *command("x", *replay[:3], 0.01))
    refused(3, ["none.npy"], *command("x", "--replay", "none.npy", *replay[2:]))
    refused(2, ["short.npy", "more than 8 tokens", "found 8"], *command("x", "--replay", "short.npy", *replay[2:]))
    refused(3, ["outside.npy: token 40", "from 0 to 96", "found 100"], *command("x", "--replay", "outside.npy", *replay[2:]))
    assert not os.path.exists("x")
    cpt(*command("o", *replay))
    for other, words in ((["--replay", "old.npy", "--replay-share", 0.3], ["replay-share 0.25", "replay-share 0.3"]),
                         (["--replay", "another.npy", *replay[2:]], ["replay tokens 100", "fingerprint"]),
                         (["--replay", "old.npy", "t.npy", *replay[2:]], ["replay tokens 100", "replay tokens 200"]), ([], ["replay-share"])):
        refused(3, ["o/training-state", *words], *command("o", "--resume", *other))
    cpt(*command("o", "--resume", *replay))
    cpt(*command("plain"))
    refused(3, ["plain/training-state", "replay-share"], *command("plain", "--resume", *replay))
    assert "total" in cpt("plan", "--model", "m", "--batch", BATCH, "--length", LENGTH, *replay)[0]


def test_resume_passes_over_a_damaged_state():
    prepare()
    options = ["--save-dtype", "f32", "--save-every", 4, "--log", "l.jsonl"]
    cpt(*command("o", *options, steps=12))
    shutil.copytree("o", "p")
    with open("o/training-state/step-00000012/m.safetensors", "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\x7f")
    os.unlink("o/model.safetensors")
    _, error = cpt(*command("o", *options, steps=12), "--resume")
    assert "step-00000012" in error and "m.safetensors" in error and "step-00000008" in error
    assert read_bytes("o/model.safetensors") == read_bytes("p/model.safetensors")
    cpt(*command("o", *options, steps=12), "--resume")
    assert [(e["type"], e["step"]) for e in read_log("l.jsonl")] == [*(("step", s) for s in range(1, 13)), ("end", 12)]


def test_a_run_with_bf16_state_resumes_bit_for_bit():
    prepare()
    cpt("fisher", "--model", "m", "--data", "old.npy", "--length", LENGTH, "--sequences", 8, "--batch", 4, "--out", "f.safetensors",
        "--quiet")
    held = ["--fisher", "f.safetensors", "--lambda", 1, "--relative", "--fisher-dtype", "bf16", "--anchor-dtype", "bf16"]
    options = [*held, "--moments", "bf16", "--save-dtype", "f32", "--save-every", 4]
    out, error = cpt(*command("o", *options, steps=12))
    assert "distance" in out
    types = {e["dtype"] for n, e in header_of("o/training-state/step-00000012/v.safetensors").items() if n != "__metadata__"}
    assert types == {"BF16"}
    whole = read_bytes("o/model.safetensors")
    shutil.rmtree("o/training-state/step-00000012")
    os.unlink("o/model.safetensors")
    refused(3, ["moments", "bf16"], *command("o", *held, "--save-dtype", "f32", "--resume", steps=12))
    cpt(*command("o", *options, "--resume", steps=12))
    assert read_bytes("o/model.safetensors") == whole
    cpt(*command("f32", *held, "--save-dtype", "f32", steps=12))
    assert read_bytes("f32/model.safetensors") != whole
    refused(2, ["--fisher-dtype", "--fisher"], *command("x", "--fisher-dtype", "bf16"))
    refused(2, ["--anchor-dtype", "--l2"], *command("x", "--anchor-dtype", "bf16"))


def test_resume_refuses_another_run():
    prepare()
    cpt(*command("o", "--save-every", 2))
    refused(3, ["length 8", "seed 0", "seed 7"], *command("o", "--resume", "--seed", 7))
    refused(3, ["training-state"], *command("o", "--resume", "--beta1", 0.8))
    refused(3, ["products"], *command("o", "--resume", "--products", "bf16"))  # another run, or not built in
    _, error = cpt(*command("fresh", "--resume"))
    assert "no training state yet" in error


def test_numeric_failure_stops_with_the_last_good_state():
    prepare()
    _, error = cpt(*command("o", "--log", "l.jsonl", rate=1e38, steps=10), code=4)
    assert "step" in error
    assert not os.path.exists("o/model.safetensors")


def test_nothing_is_overwritten_silently():
    prepare()
    cpt(*command("o", "--log", "l.jsonl"))
    before = read_bytes("o/model.safetensors")
    refused(3, ["o", "--force"], *command("o", steps=3))
    assert read_bytes("o/model.safetensors") == before
    refused(3, ["l.jsonl", "--force"], *command("n", "--log", "l.jsonl"))
    cpt(*command("o", "--force", steps=3))
    assert read_bytes("o/model.safetensors") != before
    assert os.listdir("o/training-state") == ["step-00000003"]
    refused(2, ["m", "--out"], *command("m", "--force"))
    os.mkdir("empty")
    cpt(*command("empty"))


if __name__ == "__main__":
    main([test_steps_take_the_next_sequences_and_wrap, test_replay_takes_its_share_of_every_step, test_several_files_are_one_stream,
          test_shuffled_order_covers_all_and_follows_the_seed, test_training_learns_logs_and_evaluates,
          test_the_result_is_a_model_directory, test_penalty_holds_the_weights, test_a_resumed_run_is_the_uninterrupted_one,
          test_an_interrupted_evaluation_is_made_again, test_a_whole_evaluation_is_not_made_again,
          test_a_run_with_replay_cut_after_every_step_is_the_uninterrupted_one,
          test_what_to_know_of_a_replay_is_told, test_replay_is_refused_by_name,
          test_resume_passes_over_a_damaged_state, test_a_run_with_bf16_state_resumes_bit_for_bit, test_resume_refuses_another_run,
          test_numeric_failure_stops_with_the_last_good_state, test_nothing_is_overwritten_silently])
