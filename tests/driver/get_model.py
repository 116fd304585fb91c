"""examples/get-model without its packages: parts, the tokenizer, names and values, the directory. No network.

The model is a tiny one of the tests' own, in a stand-in for the opened GGUF file."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import types

from harness import ROOT, Skip, cpt, main, read_npy, write_npy

GET_MODEL = os.path.join(ROOT, "examples/get-model")
sys.path.insert(0, GET_MODEL)
import convert  # noqa: E402
import layout  # noqa: E402
import parts  # noqa: E402
import tokenizer_json  # noqa: E402
import tokenizer_model  # noqa: E402
from tokenizer_model import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED  # noqa: E402

HERE = pathlib.Path()
SPACE = "\u2581"
IDS = {"pad": 0, "eos": 1, "bos": 2, "unk": 3}


def vocabulary():
    """Tokens, scores and types of a small tokenizer as a GGUF has them."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "\n", "\n\n", "  ", "   ", "<b>"]
    kinds = [CONTROL] * 6 + [USER_DEFINED] * 5
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    kinds += [BYTE] * 256
    merged = [SPACE + "a", "ab", "aa", SPACE + "ab", "ba", "aba", "bab", "aab", "abab", "ša", SPACE + "b", "<a", "abba", "<u", "nk>"]
    single = [SPACE, "a", "b", "š", "<", ">", "c"]
    tokens += merged + single
    kinds += [NORMAL] * (len(merged) + len(single))
    scores = [-1000.0] * 11 + [0.0] * 256 + [-float(i) for i in range(len(merged) + len(single))]
    return tokens, scores, kinds


def pieces():
    return tokenizer_model.original_pieces(*vocabulary(), control_ids={0, 1, 2}, unknown_id=3)


def ids_of(*texts):
    tokens = vocabulary()[0]
    return [tokens.index(text) for text in texts]


def tokenize(texts):
    """The ids of ewc-cpt for each text, without BOS."""
    (HERE / "t.model").write_bytes(tokenizer_model.serialize(pieces(), **IDS))
    (HERE / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    cpt("tokenize", "--force", "--tokenizer", "t.model", "--out", "t.npy", "t.jsonl")
    documents = []
    for index in read_npy("t.npy")[1]:
        if index == IDS["bos"]:
            documents.append([])
        else:
            documents[-1].append(index)
    assert len(documents) == len(texts)
    return documents


class Opened:
    """What convert.Gguf gives, of a tiny model; changes replace fields (None: the field is missing)."""

    def __init__(self, **changes):
        tokens, scores, kinds = vocabulary()
        self.fields = {
            "general.architecture": "gemma3", "gemma3.context_length": 64, "gemma3.embedding_length": 12,
            "gemma3.block_count": 7, "gemma3.feed_forward_length": 20, "gemma3.attention.head_count": 2,
            "gemma3.attention.head_count_kv": 1, "gemma3.attention.key_length": 8, "gemma3.attention.sliding_window": 5,
            "gemma3.attention.layer_norm_rms_epsilon": struct.unpack("<f", struct.pack("<f", 1e-6))[0],
            "gemma3.rope.freq_base": 1e6, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": 1,
            "tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.unknown_token_id": 3, **changes}
        self.tensors = dict.fromkeys(layout.expected_shapes(layout.configuration(self.value, len(tokens))))

    def value(self, key):
        if self.fields.get(key) is None:
            raise ValueError(f"the GGUF has no field {key}")
        return self.fields[key]

    def tensor(self, name):
        import numpy
        shape = layout.expected_shapes(layout.configuration(self.value, len(self.fields["tokenizer.ggml.tokens"])))[name]
        return numpy.random.default_rng(len(name)).standard_normal(shape).astype(numpy.float32) * numpy.float32(0.1)


def need_numpy():
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise Skip("numpy is not installed") from None


def fails(words, function, *arguments):
    """function raises a ValueError whose text has all the words."""
    try:
        function(*arguments)
    except ValueError as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in: {error}"
        return
    raise AssertionError("no error")


def install_packages(content=b"GGUF and some more bytes of a model"):
    """Stand-ins for the installed packages, in ./site; returns the SHA-256 of their file."""
    shutil.rmtree("site", ignore_errors=True)
    digest = hashlib.sha256(content).hexdigest()
    for i, package in enumerate([convert.PACKAGE, *convert.PART_PACKAGES]):
        data = HERE / "site" / package / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        if i == 0:
            (data / "SHA256SUMS").write_text(f"{digest}  m.gguf\n")
            (data / "GEMMA_TERMS.html").write_text("terms")
        else:
            (data / f"m.gguf.part{i - 1:02}").write_bytes(content[9 * (i - 1):9 * i if i < 4 else None])
        sys.modules.pop(package, None)
    site = os.path.abspath("site")
    sys.path[:] = [site] + [path for path in sys.path if os.path.basename(path) != "site"]
    return digest


def test_parts_are_joined_in_order_and_verified():
    digest = install_packages()
    found, name, published = convert.published()
    assert (name, published) == ("m.gguf", digest) and [path.suffix for path in found] == [f".part0{i}" for i in range(4)]
    parts.join(found, "joined", digest)
    assert HERE.joinpath("joined").read_bytes() == b"GGUF and some more bytes of a model"


def test_a_damaged_or_missing_part_is_refused_and_leaves_nothing():
    digest = install_packages()
    found, _, _ = convert.published()
    found[2].write_bytes(found[2].read_bytes().swapcase())
    fails(["SHA-256", digest, "damaged"], parts.join, found, "joined", digest)
    assert not os.path.exists("joined")
    found[2].unlink()
    fails(["3 parts are installed, expected 4"], convert.published)


def test_the_directory_is_whole_or_not_there_and_made_once():
    install_packages()
    directory, real = HERE.joinpath("model").absolute(), (convert.Gguf, convert.write_directory)

    def interrupted(_, aside):
        aside.joinpath("config.json").touch()
        raise KeyboardInterrupt

    def make():
        with contextlib.redirect_stdout(io.StringIO()):
            return convert.make(directory)
    try:
        convert.Gguf, convert.write_directory = (lambda path: path), interrupted
        try:
            make()
            raise AssertionError("not interrupted")
        except KeyboardInterrupt:
            pass
        assert sorted(os.listdir()) == ["site"]
        os.mkdir(".model.get-model")
        convert.write_directory = lambda _, aside: aside.joinpath("config.json").write_text("{}")
        assert make()
        assert sorted(os.listdir("model")) == ["GEMMA_TERMS.html", "config.json", "origin.json"]
        assert sorted(os.listdir()) == ["model", "site"]
        convert.write_directory = interrupted
        assert not make()
    finally:
        convert.Gguf, convert.write_directory = real


def test_what_is_somebody_elses_is_left_alone():
    record = convert.origin("m.gguf", "0" * 64)
    directory = HERE.joinpath("model")
    assert not convert.made_already(directory, record)
    directory.mkdir()
    assert not convert.made_already(directory, record)
    directory.joinpath("config.json").write_text("mine")
    fails(["model", "move it away"], convert.made_already, directory, record)
    directory.joinpath("origin.json").write_text(json.dumps(dict(record, format=0)))
    fails(["this version"], convert.made_already, directory, record)
    assert directory.joinpath("config.json").read_text() == "mine"


def test_types_texts_and_scores_are_those_before_the_conversion_to_gguf():
    found = pieces()
    assert [kind for _, _, kind in found[:11]] == [CONTROL] * 3 + [UNKNOWN] + [USER_DEFINED] * 7
    assert found[8][0] == SPACE * 2 and found[9][0] == SPACE * 3
    assert all(score == 0 for _, score, kind in found if kind != NORMAL)
    assert [score for _, score, kind in found if kind == NORMAL] == [-float(i) for i in range(22)]
    fails(["must be equally many"], tokenizer_model.original_pieces, ["a"], [], [1], set(), 0)


def test_the_rebuilt_tokenizer_reads_text_as_it_is():
    texts = {
        "ab": ids_of("ab"),
        " ab": ids_of(SPACE + "ab"),
        "a  b": ids_of("a", "  ", "b"),
        "     a": ids_of("   ", "  ", "a"),
        "a\n\n\nb ": ids_of("a", "\n\n", "\n", "b", SPACE),
        "<b>a<mask><unused0>": ids_of("<b>", "a", "<mask>", "<unused0>"),
        "<a>": ids_of("<a", ">"),
        "š": ids_of("š"),
        "é\t": ids_of("<0xC3>", "<0xA9>", "<0x09>"),
    }
    for (text, expected), found in zip(texts.items(), tokenize(texts)):
        assert found == expected, f"{text!r}: {found}, expected {expected}"


def test_text_cannot_write_control_tokens():
    for found in tokenize(["<bos>", "<eos><pad>", "<unk>"]):
        assert min(found) > 3, found


def merge(text, ranks, vocab):
    """Byte-pair merges from their ranks, one after the other, the definition of tokenizers' BPE; every character is a token."""
    symbols = list(text)
    while True:
        best = min(((ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:])) if pair in ranks), default=None)
        if best is None:
            return [vocab[symbol] for symbol in symbols]
        symbols[best[1]:best[1] + 2] = [symbols[best[1]] + symbols[best[1] + 1]]


def test_both_tokenizers_merge_alike():
    rng = random.Random(5)
    texts = ["".join(rng.choice("aabbšc<") for _ in range(rng.randint(1, 40))) for _ in range(300)]
    model = tokenizer_json.tokenizer(pieces(), IDS["bos"], IDS["unk"])["model"]
    ranks = {tuple(pair): rank for rank, pair in reversed(list(enumerate(model["merges"])))}
    assert (SPACE, "a") in ranks and ("a", "bab") in ranks and ("ab", "ab") in ranks
    assert ("<u", "nk>") not in ranks, "a piece that is not found by merging"
    for text, found in zip(texts, tokenize(texts)):
        assert found == merge(text, ranks, model["vocab"]), text


def test_spaces_are_found_in_normalised_text_and_control_pieces_are_special():
    added = tokenizer_json.tokenizer_config(pieces(), 64, IDS)["added_tokens_decoder"]
    assert sorted(map(int, added)) == list(range(11))
    assert added["8"]["content"] == SPACE * 2 and added["8"]["normalized"] and not added["8"]["special"]
    assert [added[str(i)]["special"] for i in range(11)] == [True] * 4 + [False] * 7
    assert not any(added[str(i)]["normalized"] for i in range(4))


def test_names():
    assert layout.hugging_face_name("token_embd.weight") == "model.embed_tokens.weight"
    assert layout.hugging_face_name("blk.11.post_ffw_norm.weight") == "model.layers.11.post_feedforward_layernorm.weight"
    for name in ("output.weight", "blk.1.attn_q.bias", "blk.x.attn_q.weight", "blk.1.ffn_gate_inp.weight"):
        fails([name], layout.hugging_face_name, name)


def test_every_norm_loses_the_one_that_gguf_adds_and_nothing_else_does():
    shapes = layout.expected_shapes(layout.configuration(Opened().value, 8))
    norms = {name for name, shape in shapes.items() if len(shape) == 1}
    assert len(norms) == 6 * 7 + 1 and len(shapes) == 13 * 7 + 2
    names = ["token_embd.weight", "output_norm.weight",
             *(f"blk.{layer}.{name}.weight" for layer in range(7) for name in layout.LAYER_TENSORS)]
    # Stands in for the gguf package; a number stands for a tensor.
    reader = types.SimpleNamespace(tensors=[types.SimpleNamespace(name=name, data=1.25, tensor_type=0) for name in names])
    sys.modules["gguf"] = types.SimpleNamespace(GGUFReader=lambda path: reader, dequantize=lambda data, kind: data)
    try:
        opened = convert.Gguf("m.gguf")
    finally:
        del sys.modules["gguf"]
    assert opened.tensors.keys() == shapes.keys()
    assert all(opened.tensor(name) == (0.25 if name in norms else 1.25) for name in shapes)


def test_the_configuration_speaks_to_both_generations():
    config = layout.configuration(Opened().value, 8)
    assert config["layer_types"] == ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)
    assert {kind: rope["rope_theta"] for kind, rope in config["rope_parameters"].items()} == {
        "full_attention": 1e6, "sliding_attention": 1e4}
    assert config["rms_norm_eps"] == 1e-6 and config["vocab_size"] == 8 and config["sliding_window"] == 5
    assert config["model_type"] == "gemma3_text" and config["torch_dtype"] == "bfloat16"


def test_values_are_rounded_to_the_nearest_bf16():
    need_numpy()
    import numpy
    import weights
    bits = numpy.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF818000, 0x00000000, 0x80000000], "<u4")
    expected = [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0xBF82, 0, 0x8000]
    assert weights.to_bf16(bits.view("<f4")).tolist() == expected


def test_what_is_written_opens_and_evaluates():
    need_numpy()
    HERE.joinpath("model").mkdir()
    opened = Opened()
    convert.write_directory(opened, HERE / "model")
    assert sorted(os.listdir("model")) == ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                           "tokenizer.model", "tokenizer_config.json"]
    count = len(opened.fields["tokenizer.ggml.tokens"])
    out, _ = cpt("eval", "--json", "--model", "model", "--length", 20, "--data",
                 "x=" + write_npy("x.npy", [i * 7 % count for i in range(61)]))
    assert 4 < json.loads(out)["nll"] < 8, out
    HERE.joinpath("y.txt").write_text("ab ab")
    cpt("tokenize", "--tokenizer", "model/tokenizer.model", "--out", "y.npy", "y.txt")
    assert read_npy("y.npy")[1] == [IDS["bos"], *ids_of("ab", SPACE + "ab")]


def test_another_model_is_refused_by_name():
    need_numpy()
    fails(["gemma2", "expected gemma3"], convert.write_directory, Opened(**{"general.architecture": "gemma2"}), HERE)
    opened = Opened()
    opened.fields["gemma3.attention.sliding_window"] = None
    fails(["gemma3.attention.sliding_window"], convert.write_directory, opened, HERE)
    opened = Opened()
    del opened.tensors["model.layers.3.self_attn.q_norm.weight"]
    fails(["model.layers.3.self_attn.q_norm.weight", "missing"], convert.write_directory, opened, HERE)
    opened = Opened()
    opened.tensors["model.layers.7.self_attn.q_norm.weight"] = None
    fails(["model.layers.7", "not of this configuration"], convert.write_directory, opened, HERE)


def run_script(python, **environment):
    """run.sh with `python` as python3, whose virtual environments contain that program too."""
    tools = HERE.joinpath("tools")
    tools.mkdir(exist_ok=True)
    tools.joinpath("python3").write_text("#!/bin/bash\n" + python)
    tools.joinpath("python3").chmod(0o755)
    variables = dict(os.environ, PATH=f"{tools.absolute()}:{os.environ['PATH']}", EWC_BUILD=os.path.abspath("build"),
                     **environment)
    done = subprocess.run([GET_MODEL + "/run.sh", os.path.abspath("model")], env=variables, capture_output=True, text=True,
                          timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


VENV = """case "$*" in
*"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*"-m pip"*) echo pip >> "$LOG"; exit "${PIP:-0}" ;;
*convert.py*) echo "convert $2" >> "$LOG" ;;
esac
"""


def test_the_packages_are_installed_once_and_the_terms_are_shown():
    log = os.path.abspath("log")
    for _ in range(2):
        code, out, error = run_script(VENV, LOG=log)
        assert code == 0, error
        assert "ai.google.dev/gemma/terms" in out
    model = os.path.abspath("model")
    assert HERE.joinpath("log").read_text().splitlines() == ["pip", f"convert {model}", f"convert {model}"]


def test_a_failed_installation_says_what_to_do_and_is_tried_again():
    log = os.path.abspath("log")
    code, _, error = run_script(VENV, LOG=log, PIP="1")
    assert code != 0 and "network" in error and "run again" in error
    assert run_script(VENV, LOG=log)[0] == 0
    assert HERE.joinpath("log").read_text().splitlines() == ["pip", "pip", f"convert {os.path.abspath('model')}"]
    code, _, error = run_script("exit 1\n", LOG=log)
    assert code != 0 and "too old" in error


if __name__ == "__main__":
    main([value for name, value in list(globals().items()) if name.startswith("test_")])
