"""ewc-cpt: help, wrong options and values, exit codes, the memory plan, evaluation, the Fisher command."""

import json
import math
import os
import struct

from harness import VOCABULARY, close, cpt, main, make_model, read_bytes, read_npy, refused, tokens, write_npy

COMMANDS = ["tokenize", "init", "plan", "fisher", "train", "eval"]
TRAIN = ["train", "--model", "m", "--data", "t.npy", "--length", 8, "--batch", 2, "--steps", 2, "--lr", 1e-3, "--out", "o"]


def test_help_everywhere():
    out, _ = cpt("--help")
    for word in COMMANDS + ["Exit codes", "0 success", "4 a NaN", "5 interrupted"]:
        assert word in out, word
    for command in COMMANDS:
        out, _ = cpt(command, "--help")
        assert out.startswith(f"Usage: ewc-cpt {command} ") and "--help" in out
    assert "--save-dtype" in cpt("train", "--help")[0]


def test_wrong_command_line_is_named_with_the_remedy():
    refused(2, ["there is no command 'trian'", "--help"], "trian")
    assert "Usage" in cpt(code=2)[1]
    refused(2, ["--lamda", "did you mean --lambda?"], *TRAIN, "--lamda", 1)
    refused(2, ["--steps", "whole number", "ten"], *TRAIN[:9], "--steps", "ten", "--lr", 1, "--out", "o")
    refused(2, ["--batch", "at least 1", "0"], "plan", "--model", "m", "--length", 8, "--batch", 0)
    refused(2, ["--schedule", "constant|linear|cosine|wsd", "cosin"], *TRAIN, "--schedule", "cosin")
    refused(2, ["--lr", "number", "fast"], *TRAIN[:11], "--lr", "fast", "--out", "o")
    refused(2, ["--lr", "finite"], *TRAIN[:11], "--lr", "nan", "--out", "o")
    refused(2, ["--out", "missing"], *TRAIN[:-2])
    refused(2, ["--log", "needs a value"], *TRAIN, "--log")
    refused(2, ["--seed", "twice"], *TRAIN, "--seed", 1, "--seed", 2)
    refused(2, ["--lambda", "--fisher"], *TRAIN, "--lambda", 1)
    refused(2, ["--fisher", "--lambda"], *TRAIN, "--fisher", "f.safetensors")
    refused(2, ["--anchor", "--fisher"], *TRAIN, "--anchor", "m")
    refused(2, ["--resume", "--force"], *TRAIN, "--resume", "--force")
    refused(2, ["unexpected argument 'stray'"], *TRAIN[:-2], "--out", "o", "--quiet", "stray")


def test_wrong_files_are_named():
    refused(3, ["nowhere"], "eval", "--model", "nowhere", "--data", "t.npy", "--length", 8)
    make_model("m")
    evaluate = ["eval", "--model", "m", "--length", 8, "--data"]
    refused(3, ["absent.npy"], *evaluate, "absent.npy")
    write_npy("short.npy", tokens(8))
    refused(2, ["short.npy", "8"], *evaluate, "short.npy")
    write_npy("large.npy", tokens(20) + [VOCABULARY])
    refused(3, ["large.npy", str(VOCABULARY), "20"], *evaluate, "large.npy")
    with open("not.npy", "wb") as file:
        file.write(b"hello")
    refused(3, ["not.npy"], *evaluate, "not.npy")
    write_npy("t.npy", tokens(100))
    refused(2, ["64", "65"], "eval", "--model", "m", "--length", 65, "--data", "t.npy")
    with open("m/model.safetensors", "r+b") as file:
        file.truncate(1000)
    refused(3, ["model.safetensors"], *evaluate, "t.npy")


def test_init_is_reproducible_and_overwrites_nothing():
    make_model("a", seed=5)
    make_model("b", seed=5)
    make_model("c", seed=6)
    weights = [read_bytes(f"{name}/model.safetensors") for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    refused(3, ["a", "--force"], "init", "--config", "a.json", "--seed", 7, "--out", "a")
    assert read_bytes("a/model.safetensors") == weights[0]
    cpt("init", "--config", "a.json", "--seed", 6, "--out", "a", "--force")
    assert read_bytes("a/model.safetensors") == weights[2]


def test_plan_prints_the_table_and_takes_train_options():
    make_model("m")
    out, _ = cpt("plan", "--model", "m", "--batch", 4, "--length", 16)
    for word in ("weights", "gradients", "moments", "activations", "total", "MiB"):
        assert word in out, word
    assert "Fisher" not in out
    plan = json.loads(cpt("plan", "--model", "m", "--batch", 4, "--length", 16, "--json")[0])
    count = sum(math.prod(shape) for shape in tensor_shapes("m/model.safetensors"))
    assert plan["parameters"] == count and plan["weights_bytes"] == 4 * count == plan["gradients_bytes"]
    assert plan["moments_bytes"] == 8 * count
    longer = json.loads(cpt("plan", "--model", "m", "--batch", 4, "--length", 32, "--json")[0])
    assert longer["activations_bytes"] > plan["activations_bytes"]
    write_npy("t.npy", tokens(100))
    cpt("fisher", "--model", "m", "--data", "t.npy", "--length", 8, "--sequences", 4, "--batch", 2, "--estimator", "empirical", "--out",
        "f.safetensors")
    out, _ = cpt("plan", "--model", "m", "--batch", 4, "--length", 16, "--steps", 10, "--lr", 1e-3, "--fisher", "f.safetensors",
                 "--lambda", 1, "--data", "t.npy", "--out", "o")
    assert "Fisher" in out and "anchor" in out
    bf16 = json.loads(cpt("plan", "--model", "m", "--batch", 4, "--length", 16, "--fisher", "f.safetensors", "--lambda", 1, "--moments",
                          "bf16", "--fisher-dtype", "bf16", "--anchor-dtype", "bf16", "--json")[0])
    assert bf16["moments_bytes"] == 4 * count and bf16["fisher_bytes"] == bf16["anchor_bytes"] == 2 * count
    assert bf16["mapped_bytes"] == 0
    assert not os.path.exists("o")


def test_products_are_named_and_refused_where_they_cannot_be_had():
    make_model("m")
    plan = ["plan", "--model", "m", "--batch", 4, "--length", 16]
    assert "products in f32 through " in cpt(*plan, "--threads", 2)[0]
    try:
        out, _ = cpt(*plan, "--products", "bf16")
    except AssertionError:
        refused(3, ["products", "EWC_PRODUCTS_F32"], *plan, "--products", "bf16")
    else:
        assert "products in bf16 through oneDNN" in out
    refused(2, ["--products", "f32|bf16"], *plan, "--products", "f8")


def tensor_shapes(path):
    data = read_bytes(path)
    header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
    return [entry["shape"] for name, entry in header.items() if name != "__metadata__"]


def test_eval_scores_the_sequences_of_the_contract():
    make_model("m")
    ids = tokens(5000)
    write_npy("t.npy", ids)
    write_npy("u.npy", ids[:33], "<i4")
    out, _ = cpt("eval", "--model", "m", "--data", "first=t.npy", "second=u.npy", "--length", 16, "--per-token", "lp.npy", "--json")
    results = [json.loads(line) for line in out.splitlines()]
    assert [result["name"] for result in results] == ["first", "second"]
    # (5000 - 1) / 16 = 312 whole sequences, more than one pass holds; (33 - 1) / 16 = 2
    assert [result["tokens"] for result in results] == [4992, 32]
    descr, values = read_npy("lp.npy")
    assert descr == "<f4" and len(values) == 5024
    for result, part in zip(results, (values[:4992], values[4992:])):
        close(result["nll"], -sum(part) / len(part), 1e-6)
        close(result["perplexity"], math.exp(result["nll"]), 1e-9)
    # A sequence stands alone: one of the file is the first of a file that starts there.
    for k in (1, 290):
        write_npy(f"{k}.npy", ids[16 * k:16 * k + 17], "<u4")
        cpt("eval", "--model", "m", "--data", f"v={k}.npy", "--length", 16, "--per-token", f"{k}-lp.npy")
        for a, b in zip(read_npy(f"{k}-lp.npy")[1], values[16 * k:16 * k + 16]):
            close(a, b, 1e-5)
    refused(3, ["lp.npy", "--force"], "eval", "--model", "m", "--data", "a=t.npy", "--length", 16, "--per-token", "lp.npy")


def test_sequences_that_begin_with_bos():
    """What --bos scores is what a sequence written by hand with BOS in front gives; where a document begins nothing is scored."""
    make_model("m")
    stream = [2] + tokens(9) + [2] + tokens(14, seed=5)
    write_npy("t.npy", stream)
    out, _ = cpt("eval", "--model", "m", "--data", "t=t.npy", "--length", 8, "--bos", "--per-token", "all.npy", "--json")
    assert json.loads(out)["tokens"] == 3 * 7 - 1
    _, found = read_npy("all.npy")
    for k in range(3):
        piece = stream[7 * k:7 * k + 8]
        write_npy("one.npy", [2] + piece)
        cpt("eval", "--model", "m", "--data", "one.npy", "--length", 8, "--per-token", "one-out.npy", "--force")
        _, expected = read_npy("one-out.npy")
        assert found[8 * k] == 0.0
        for i in range(1, 8):
            close(found[8 * k + i], 0.0 if piece[i] == 2 else expected[i], 1e-5)
    cpt("fisher", "--model", "m", "--data", "t.npy", "--length", 8, "--sequences", 3, "--batch", 1, "--bos", "--out", "f.safetensors")
    train = ["train", "--model", "m", "--data", "t.npy", "--length", 8, "--batch", 3, "--steps", 1, "--lr", 0, "--bos", "--log", "l.jsonl"]
    cpt(*train, "--out", "o")
    steps = [json.loads(line) for line in open("l.jsonl", encoding="utf-8")]
    close(steps[0]["loss"], json.loads(out)["nll"], 1e-6)
    refused(2, ["sequences of at least 2 tokens"], "eval", "--model", "m", "--data", "t.npy", "--length", 1, "--bos")


def test_eval_of_a_model_that_knows_nothing():
    make_model("flat", initializer_range=1e-9)
    write_npy("t.npy", tokens(65))
    out, _ = cpt("eval", "--model", "flat", "--data", "x=t.npy", "--length", 16, "--json")
    close(json.loads(out)["nll"], math.log(VOCABULARY), 1e-4)


def test_fisher_command():
    make_model("m")
    write_npy("t.npy", tokens(200))
    common = ["fisher", "--model", "m", "--data", "t.npy", "--length", 8, "--sequences", 6]
    for estimator in ("empirical", "empirical_signs", "sampled", "batch_mean"):
        out, _ = cpt(*common, "--batch", 3, "--estimator", estimator, "--seed", 3, "--out", estimator + ".safetensors")
        assert estimator in out and "6 sequences, 48 tokens" in out
    cpt(*common, "--batch", 3, "--estimator", "sampled", "--seed", 3, "--out", "again.safetensors")
    assert read_bytes("again.safetensors") == read_bytes("sampled.safetensors")
    # The empirical Fisher does not depend on how the sequences are put into passes.
    values = []
    for batch in (1, 6):
        cpt(*common, "--batch", batch, "--estimator", "empirical", "--out", f"batch{batch}.safetensors")
        data = read_bytes(f"batch{batch}.safetensors")
        start = 8 + struct.unpack("<Q", data[:8])[0]
        values.append(struct.unpack(f"<{(len(data) - start) // 4}f", data[start:]))
    assert len(values[0]) == len(values[1]) and max(values[0]) > 0
    scale = max(values[0])
    assert max(abs(a - b) for a, b in zip(*values)) < 1e-5 * scale
    # With sums instead of means every square is 8 * 8 times as large.
    cpt(*common, "--batch", 6, "--estimator", "empirical", "--unit", "sequence_sum", "--out", "sum.safetensors")
    data = read_bytes("sum.safetensors")
    sums = struct.unpack(f"<{len(values[0])}f", data[8 + struct.unpack("<Q", data[:8])[0]:])
    assert max(abs(a / 64 - b) for a, b in zip(sums, values[1])) < 1e-5 * scale
    refused(3, ["sum.safetensors", "--force"], *common, "--batch", 6, "--out", "sum.safetensors")
    refused(2, ["--estimator", "empirical|empirical_signs|sampled|batch_mean"], *common, "--batch", 6, "--estimator", "adam", "--out", "x")


if __name__ == "__main__":
    main([test_help_everywhere, test_wrong_command_line_is_named_with_the_remedy, test_wrong_files_are_named,
          test_init_is_reproducible_and_overwrites_nothing, test_plan_prints_the_table_and_takes_train_options,
          test_products_are_named_and_refused_where_they_cannot_be_had, test_eval_scores_the_sequences_of_the_contract, test_sequences_that_begin_with_bos, test_eval_of_a_model_that_knows_nothing, test_fisher_command])
