"""What the driver's tests share: running ewc-cpt, .npy files, a tiny model, TAP output. Standard library only."""

import array
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CPT = os.path.join(os.environ.get("EWC_BUILD", os.path.join(ROOT, "build")), "ewc-cpt")
TOKENIZER = os.path.join(ROOT, "examples/demo/model/tokenizer.model")

VOCABULARY = 97
CONFIG = {
    "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "vocab_size": VOCABULARY, "hidden_size": 24,
    "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "query_pre_attn_scalar": 8, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 6,
    "max_position_embeddings": 64, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "initializer_range": 0.05, "tie_word_embeddings": True, "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "torch_dtype": "float32",
}


class Skip(Exception):
    """The test cannot be run here."""


def cpt(*arguments, code=0):
    """Runs ewc-cpt, checks its exit code; returns (stdout, stderr)."""
    done = subprocess.run([CPT, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == code, f"ewc-cpt {' '.join(map(str, arguments))}: exit {done.returncode}, expected {code}\n" \
                                    f"{done.stdout}{done.stderr}"
    return done.stdout, done.stderr


def refused(code, words, *arguments):
    """The command ends with `code`, prints nothing to stdout, and its message has every one of the words."""
    out, error = cpt(*arguments, code=code)
    assert out == "", f"printed to stdout: {out}"
    for word in words:
        assert word in error, f"{word!r} is not in: {error}"


def interrupt_at(text, arguments, with_signal=signal.SIGINT):
    """A signal while the run says `text` on stderr. That must be the beginning of a line longer than the pipe holds: the run waits inside it."""
    stderr, its_end = os.pipe()
    fcntl.fcntl(its_end, fcntl.F_SETPIPE_SZ, 4096)
    said = b""
    with subprocess.Popen([CPT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=its_end) as process, open(stderr, "rb", 0) as pipe:
        os.close(its_end)
        while text.encode() not in said:
            some = pipe.read(16)
            assert some, f"ended before it was interrupted: {said[-200:]}"
            said += some
        process.send_signal(with_signal)
        said += pipe.readall()
    assert process.returncode == (5 if with_signal == signal.SIGINT else -with_signal), (process.returncode, said[-200:])


def read_npy(path):
    """(dtype, values) of a one-dimensional .npy file, by the format's definition."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    size = struct.unpack("<H", data[8:10])[0]
    assert (10 + size) % 64 == 0
    header = eval(data[10:10 + size].decode("latin-1"), {"__builtins__": {}})
    assert header["fortran_order"] is False and len(header["shape"]) == 1
    code = {"<u2": "H", "<u4": "I", "<i4": "i", "<f4": "f"}[header["descr"]]
    values = array.array(code, data[10 + size:])
    assert len(values) == header["shape"][0]
    return header["descr"], values.tolist()


def write_npy(path, values, descr="<u2"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({len(values)},), }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    code = {"<u2": "H", "<u4": "I", "<i4": "i"}[descr]
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + array.array(code, values).tobytes())
    return path


def tokens(count, seed=1, vocabulary=VOCABULARY):
    """Reproducible ids with some order in them, so that there is something to learn."""
    result, state = [], seed
    for i in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        result.append(3 + ((7 * i + state // 65536 % 5) % (vocabulary - 3)))
    return result


def make_model(directory, seed=1, **changes):
    config = directory + ".json"
    with open(config, "w", encoding="utf-8") as file:
        json.dump(dict(CONFIG, **changes), file)
    cpt("init", "--config", config, "--seed", seed, "--out", directory)
    return directory


def read_log(path, timing=False):
    with open(path, encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    if not timing:
        for entry in entries:
            entry.pop("seconds", None)
            entry.pop("phase_seconds", None)
    return entries


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def close(a, b, tolerance):
    assert abs(a - b) <= tolerance * max(1.0, abs(a), abs(b)), f"{a} and {b} differ by more than {tolerance}"


def main(tests):
    """Runs the tests, each in an empty directory of its own, and reports in TAP and in a line of counts."""
    if not os.path.exists(CPT):
        print(f"not ok - {CPT} is missing: run make first")
        sys.exit(1)
    failed = skipped = 0
    for test in tests:
        name = test.__name__.removeprefix("test_").replace("_", " ")
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        try:
            test()
            print(f"ok - {name}")
        except Skip as reason:
            skipped += 1
            print(f"ok - {name} # SKIP {reason}")
        except Exception:
            failed += 1
            print(f"not ok - {name}\n" + "".join("# " + line for line in traceback.format_exc().splitlines(keepends=True)))
        finally:
            os.chdir(ROOT)
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
    print(f"{len(tests) - failed - skipped} passed, {failed} failed")
    sys.exit(1 if failed else 0)
