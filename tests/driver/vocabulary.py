"""--vocab-from of ewc-cpt: a run on listed tokens is that of a model cut by hand, and what it saves is whole."""

import json
import os
import shutil
import struct

from harness import CONFIG, ROOT, cpt, main, make_model, read_bytes, read_log, read_npy, refused, write_npy

LENGTH, HIDDEN, VOCABULARY = 8, CONFIG["hidden_size"], CONFIG["vocab_size"]
TABLE = "model.embed_tokens.weight"
LISTED = sorted({0, 1, 2, *range(5, 60, 2), 96})


def read_tensors(path):
    """{name: (dtype, shape, bytes)} and the metadata of a safetensors file."""
    data = read_bytes(path)
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items()}, metadata


def write_tensors(path, tensors):
    header, blob = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)


def rows(tensor):
    dtype, shape, data = tensor
    size = shape[1] * {"F32": 4, "BF16": 2}[dtype]
    return [data[i * size:(i + 1) * size] for i in range(shape[0])]


def cut_by_hand(source, target):
    """A directory whose table has only the listed rows: its token ids are their numbers in the list."""
    tensors, _ = read_tensors(source + "/model.safetensors")
    table = rows(tensors[TABLE])
    tensors[TABLE] = (tensors[TABLE][0], [len(LISTED), HIDDEN], b"".join(table[i] for i in LISTED))
    os.makedirs(target)
    write_tensors(target + "/model.safetensors", tensors)
    with open(source + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    with open(target + "/config.json", "w", encoding="utf-8") as file:
        json.dump(dict(config, vocab_size=len(LISTED)), file)


def text(count, seed):
    """Places in the list, with some order in them."""
    result, state = [], seed
    for i in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        result.append(3 + (7 * i + state // 65536 % 5) % (len(LISTED) - 3))
    return result


def prepare():
    """m and its cut c; token files t, old in the ids of m, and tc, oldc in those of c. That all are listed takes both."""
    make_model("m")
    cut_by_hand("m", "c")
    for name, seed in (("t", 1), ("old", 9)):
        places = text(100, seed)
        write_npy(name + ".npy", [LISTED[i] for i in places])
        write_npy(name + "c.npy", places)
    write_npy("rest.npy", LISTED)


FROM = ["--vocab-from", "t.npy", "old.npy", "rest.npy"]


def fisher(model, data, out, *more):
    return cpt("fisher", "--model", model, "--data", data, "--length", LENGTH, "--sequences", 9, "--batch", 3, "--quiet", "--out", out, *more)


def train(model, data, out, *more, steps=6):
    return ["train", "--model", model, "--data", data, "--length", LENGTH, "--batch", 2, "--steps", steps, "--lr", 1e-2, "--quiet",
            "--threads", 1, "--out", out, *more]


def test_fisher_train_and_eval_are_those_of_the_cut_model():
    prepare()
    for estimator in ("empirical", "sampled"):
        fisher("m", "old.npy", "f", "--force", "--estimator", estimator, *FROM)
        fisher("c", "oldc.npy", "fc", "--force", "--estimator", estimator)
        listed, cut = read_tensors("f"), read_tensors("fc")
        assert listed[0] == cut[0]
        assert listed[1]["model_fingerprint"] == cut[1]["model_fingerprint"]
        assert listed[1]["vocabulary"].startswith(f"{len(LISTED)} of {VOCABULARY} tokens, list "), listed[1]
        assert "vocabulary" not in cut[1]
    penalty = ["--fisher", "f", "--lambda", 10, "--save-dtype", "f32"]
    cpt(*train("m", "t.npy", "o", "--eval", "old=old.npy", "--log", "l.jsonl", *penalty, *FROM))
    penalty[1] = "fc"
    cpt(*train("c", "tc.npy", "oc", "--eval", "old=oldc.npy", "--log", "lc.jsonl", *penalty))
    assert read_log("l.jsonl") == read_log("lc.jsonl")
    source, whole, cut = (read_tensors(d + "/model.safetensors")[0] for d in ("m", "o", "oc"))
    assert whole.keys() == cut.keys()
    for name, tensor in whole.items():
        assert name == TABLE or tensor == cut[name], name
    assert whole[TABLE][1] == [VOCABULARY, HIDDEN]
    trained = rows(cut[TABLE])
    for i, row in enumerate(rows(whole[TABLE])):
        assert row == (trained[LISTED.index(i)] if i in LISTED else rows(source[TABLE])[i]), i
    with open("o/config.json", encoding="utf-8") as file:
        assert json.load(file)["vocab_size"] == VOCABULARY
    arguments = ["--length", LENGTH, "--per-token"]
    _, said = cpt("eval", "--model", "o", "--data", "old=old.npy", *arguments, "a.npy", *FROM)
    assert f"{len(LISTED)} of {VOCABULARY} tokens" in said
    cpt("eval", "--model", "oc", "--data", "old=oldc.npy", *arguments, "b.npy")
    assert read_npy("a.npy") == read_npy("b.npy")


def test_multiple_choice_is_that_of_the_cut_model():
    prepare()
    for name, ids in (("q.jsonl", LISTED), ("qc.jsonl", range(len(LISTED)))):
        with open(name, "w", encoding="utf-8") as file:
            for k in range(5):
                json.dump({"prefix": [ids[2], ids[4 + k]], "choices": [[ids[9], ids[k]], [ids[11 + k]]], "answer": 1}, file)
                file.write("\n")
    listed, _ = cpt("eval", "--model", "m", "--choices", "q=q.jsonl", "--json", *FROM)
    cut, _ = cpt("eval", "--model", "c", "--choices", "q=qc.jsonl", "--json")
    assert listed == cut and len(listed.splitlines()) == 6
    with open("q.jsonl", "a", encoding="utf-8") as file:
        file.write('{"prefix": [2], "choices": [[4], [7]], "answer": 0}\n')
    refused_with = cpt("eval", "--model", "m", "--choices", "q=q.jsonl", *FROM, code=3)[1]
    for word in ("q.jsonl: line 6", "choice 0, token 0", "token 4 is not among", f"{len(LISTED)} of {VOCABULARY}", "--vocab-from"):
        assert word in refused_with, refused_with


def write_choices(path, *items):
    with open(path, "w", encoding="utf-8") as file:
        for prefix, *choices in items:
            file.write(json.dumps({"prefix": prefix, "choices": choices, "answer": 0}) + "\n")


def parameters(model, *more):
    return json.loads(cpt("plan", "--model", model, "--batch", 1, "--length", 8, "--json", *more)[0])["parameters"]


def test_tokens_of_multiple_choice_items_can_be_listed():
    prepare()
    write_npy("few.npy", [2, 5, 6])
    write_choices("q.jsonl", ([2, 8], [9, 10], [11]), ([2], [12], [8]))
    fewer = parameters("m") - parameters("m", "--vocab-from", "few.npy", "q.jsonl")
    assert fewer == (VOCABULARY - len({0, 1, 2, 5, 6, 8, 9, 10, 11, 12})) * HIDDEN
    out, _ = cpt("eval", "--model", "m", "--choices", "q=q.jsonl", "--vocab-from", "q.jsonl", "--json")
    assert len(out.splitlines()) == 3
    write_choices("high.jsonl", ([2], [12], [8, VOCABULARY]))
    refused(3, ["high.jsonl: line 1", "from 0 to 96", "found 97"], "eval", "--model", "m", "--choices", "q=q.jsonl", "--vocab-from", "high.jsonl")


def test_items_of_text_are_listed_by_the_models_tokenizer():
    model = os.path.join(ROOT, "examples/demo/model")
    write_choices("q.jsonl", ("The capital of Lithuania is", " Vilnius", " Warsaw"), ("Two and two are", " four", " five"))
    write_npy("few.npy", [2, 5, 6])
    arguments = ["eval", "--model", model, "--choices", "q=q.jsonl", "--vocab-from", "few.npy"]
    assert "2 items" in cpt(*arguments, "q.jsonl")[0]
    refused(3, ["q.jsonl: line 1", "is not among"], *arguments)
    with open(model + "/config.json", encoding="utf-8") as file:
        hidden = json.load(file)["hidden_size"]
    assert parameters(model) - parameters(model, "--vocab-from", "q.jsonl") > 4000 * hidden
    shutil.copy(model + "/config.json", "config.json")
    refused(3, ["q.jsonl: line 1 has text", "tokenizer.model"], "plan", "--model", "config.json", "--batch", 1, "--length", 8, "--vocab-from", "q.jsonl")


def test_the_loss_is_lower_and_less_so_the_longer_the_list():
    prepare()
    write_npy("most.npy", range(90))
    write_npy("all.npy", range(VOCABULARY))
    losses = []
    for files in ([], ["all.npy"], ["most.npy", "t.npy"], ["t.npy"]):
        out, _ = cpt("eval", "--model", "m", "--data", "t=t.npy", "--length", LENGTH, "--json", *(["--vocab-from", *files] if files else []))
        losses.append(json.loads(out)["nll"])
    assert losses[0] == losses[1] > losses[2] > losses[3] > 0


def test_a_resumed_run_is_the_uninterrupted_one():
    prepare()
    fisher("m", "old.npy", "f", *FROM)
    more = ["--fisher", "f", "--lambda", 10, "--eval", "old=old.npy", "--save-every", 2, *FROM]
    cpt(*train("m", "t.npy", "whole", *more, "--log", "whole.jsonl"))
    cpt(*train("m", "t.npy", "parts", *more, "--log", "parts.jsonl"))
    os.rename("parts/training-state/step-00000006", "later")
    os.remove("parts/model.safetensors")
    cpt(*train("m", "t.npy", "parts", *more, "--log", "parts.jsonl", "--resume"))
    assert read_log("whole.jsonl") == read_log("parts.jsonl")
    assert read_bytes("whole/model.safetensors") == read_bytes("parts/model.safetensors")
    state, _ = read_tensors("whole/training-state/step-00000006/weights.safetensors")
    assert state[TABLE][1] == [len(LISTED), HIDDEN]
    refused(3, ["vocabulary", f"the saved run had {len(LISTED)} of {VOCABULARY}", "this one has all tokens"],
            *train("m", "t.npy", "parts", "--save-every", 2, "--resume"))
    write_npy("one.npy", [3] * 9)
    fisher("m", "old.npy", "f1", *FROM, "one.npy")
    refused(3, ["vocabulary", f"the saved run had {len(LISTED)} of {VOCABULARY}", f"this one has {len(LISTED) + 1} of {VOCABULARY}"],
            *train("m", "t.npy", "parts", "--save-every", 2, "--resume", *FROM, "one.npy", "--fisher", "f1", "--lambda", 10))


def test_a_fisher_of_other_tokens_is_refused():
    prepare()
    fisher("m", "old.npy", "listed", *FROM)
    fisher("m", "old.npy", "whole")
    write_npy("one.npy", [3] * 9)
    cut, one_more, all_of_them = (f"{n} of {VOCABULARY} tokens" for n in (len(LISTED), len(LISTED) + 1, "all"))
    refused(3, ["listed", "vocabulary", "expected all 97 tokens", f"found {cut}", "--vocab-from"],
            *train("m", "t.npy", "o", "--fisher", "listed", "--lambda", 1))
    refused(3, ["listed", "vocabulary", f"expected {one_more}", f"found {cut}"],
            *train("m", "t.npy", "o", "--fisher", "listed", "--lambda", 1, *FROM, "one.npy"))
    refused(3, ["whole", "vocabulary", f"expected {cut}", "found all of them"],
            *train("m", "t.npy", "o", "--fisher", "whole", "--lambda", 1, *FROM))


def test_a_token_that_is_not_listed_is_refused_before_anything_is_done():
    prepare()
    words = ["old.npy: position", "token", "is not among the", f"of {VOCABULARY} that the model was cut to", "--vocab-from"]
    write_npy("old.npy", [LISTED[5]] * 50 + [4] + [LISTED[5]] * 9)
    words += ["position 50", "token 4"]
    refused(3, words, *train("m", "t.npy", "o", "--eval", "old=old.npy", "--vocab-from", "t.npy", "rest.npy"))
    refused(3, words, "eval", "--model", "m", "--data", "old=old.npy", "--length", LENGTH, "--vocab-from", "t.npy", "rest.npy")
    assert not os.path.exists("o")
    write_npy("high.npy", [5, 6, VOCABULARY])
    refused(3, ["high.npy", "token 2", "found 97"], *train("m", "t.npy", "o", "--vocab-from", "t.npy", "high.npy"))


def test_plan_counts_the_rows_of_listed_tokens():
    prepare()
    arguments = ["plan", "--batch", 2, "--length", LENGTH, "--json", "--model"]
    listed, cut, whole = (json.loads(cpt(*arguments, *more)[0]) for more in (["m", *FROM], ["c"], ["m"]))
    assert listed["parameters"] == cut["parameters"] == whole["parameters"] - (VOCABULARY - len(LISTED)) * HIDDEN
    for part in ("weights_bytes", "gradients_bytes", "moments_bytes", "activations_bytes", "logits_bytes"):
        assert listed[part] == cut[part] <= whole[part], part


main([value for name, value in list(globals().items()) if name.startswith("test_")])
