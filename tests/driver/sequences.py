"""The sequences that ewc-cpt reads: on resuming those of the run, --bos in everything that reads, how many an evaluation takes at a time."""

import os
import subprocess

from harness import CPT, cpt, main, make_model, refused, tokens, write_npy

LENGTH = 16


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


if __name__ == "__main__":
    main([test_evaluating_in_training_needs_no_more_memory_than_a_step, test_other_new_text_of_the_same_length_is_no_resumption])
