"""Checks a model directory against transformers (float32, eager attention):

  tokens         ewc-cpt tokenize and transformers' tokenizer give the same ids for every text of check_texts.py
  continuations  greedy continuations of a few prompts are what everybody would say
  likelihoods    ewc-cpt eval and transformers agree on the log-likelihood of every token, within LIMIT nats

  check.py DIR        EWC_BUILD: the build directory, for ewc-cpt; run by check.sh"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

import check_texts

BOS = 2
# Two float32 computations with different orders of summation; as in tests/transformers/live.py.
LIMIT = 2e-4
LENGTH, SEQUENCES = 700, 2
RANDOM_TEXTS, RANDOM_SEED = 3000, 1


def driver(*arguments):
    command = [os.path.join(os.environ["EWC_BUILD"], "ewc-cpt"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"check: {' '.join(command)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def tokenize(model, texts, folder):
    """The ids of ewc-cpt for each text, BOS included."""
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    driver("tokenize", "--force", "--tokenizer", model / "tokenizer.model", "--out", folder / "texts.npy",
           folder / "texts.jsonl")
    ids = numpy.load(folder / "texts.npy")
    return [document.tolist() for document in numpy.split(ids, numpy.flatnonzero(ids == BOS))[1:]]


def check_tokens(model, tokenizer, folder):
    groups = {**check_texts.GROUPS, "random": check_texts.random_texts(RANDOM_TEXTS, RANDOM_SEED)}
    texts = [text for group in groups.values() for text in group]
    documents = tokenize(model, texts, folder)
    right = len(documents) == len(texts)
    print(f"\nTokens: ewc-cpt tokenize and transformers' {type(tokenizer).__name__}\n{'':20} {'texts':>6} {'tokens':>7} differ")
    found = iter(documents)
    for name, group in groups.items():
        tokens, different = 0, []
        for text, ids in zip(group, found):
            expected = tokenizer(text)["input_ids"]
            tokens += len(expected)
            if ids != expected:
                different.append((text, ids, expected))
        print(f"{name:20} {len(group):6} {tokens:7} {len(different):6}")
        for text, ids, expected in different[:3]:
            print(f"  {text!r}\n    ewc-cpt      {tokenizer.convert_ids_to_tokens(ids)}"
                  f"\n    transformers {tokenizer.convert_ids_to_tokens(expected)}")
        right = right and not different
    # What is meant to differ: see CONTROL. ewc-cpt must not let a text write the control tokens, and decodes to the same text.
    for text, ids in zip(check_texts.CONTROL, tokenize(model, check_texts.CONTROL, folder), strict=True):
        if min(ids[1:]) <= 3 or "".join(tokenizer.convert_ids_to_tokens(ids[1:])).replace("\u2581", " ") != text:
            print(f"  {text!r} gives {ids}: a control token out of text")
            right = False
    return right


def check_continuations(model, tokenizer):
    print("\nGreedy continuations")
    right = True
    for prompt, expected in check_texts.PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
        text = tokenizer.decode(output[0, inputs["input_ids"].shape[1]:])
        print(f"  {prompt}|{text.encode('unicode_escape').decode()}" + ("" if expected in text else f"   (not {expected!r})"))
        right = right and expected in text
    return right


def likelihoods(model, ids):
    """log p of every token behind the first."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        return (logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0] - logits.logsumexp(1)).numpy()


def check_likelihoods(directory, model, folder):
    written = {name: check_texts.GROUPS[name] for name in ("English", "Lithuanian", "code", "scripts", "emoji")}
    streams = {name: sum(tokenize(directory, texts, folder), []) for name, texts in written.items()}
    stream = sum(streams.values(), [])[:SEQUENCES * LENGTH + 1]
    assert len(stream) == SEQUENCES * LENGTH + 1
    numpy.save(folder / "stream.npy", numpy.array(stream, dtype=numpy.uint32))
    print("\nLikelihoods: ewc-cpt eval and transformers\n" + driver(
        "eval", "--model", directory, "--data", f"all={folder / 'stream.npy'}", "--length", LENGTH, "--per-token",
        folder / "lp.npy").rstrip())
    found = numpy.load(folder / "lp.npy")
    expected = numpy.concatenate([likelihoods(model, stream[i * LENGTH:(i + 1) * LENGTH + 1]) for i in range(SEQUENCES)])
    nll = -expected.mean(dtype=numpy.float64)
    print(f"transformers: nll {nll:.6f}   perplexity {math.exp(nll):.4f}")
    difference = numpy.abs(found - expected)
    rms = math.sqrt((difference ** 2).mean(dtype=numpy.float64))
    print(f"{found.size} tokens, sequences of {LENGTH} (window {model.config.sliding_window}): log-likelihoods differ by at "
          f"most {difference.max():.2e}, root mean square {rms:.2e} nats; limit {LIMIT:.0e}")
    for name in ("English", "Lithuanian"):
        values = likelihoods(model, streams[name])
        print(f"perplexity of the {name} text alone, {values.size} tokens: {math.exp(-values.mean(dtype=numpy.float64)):.2f}")
    return found.shape == expected.shape and bool(difference.max() <= LIMIT)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = pathlib.Path(sys.argv[1])
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    print(f"{directory}: {type(model).__name__}, {model.num_parameters():,} parameters; "
          f"transformers {transformers.__version__}, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        results = {"tokens": check_tokens(directory, tokenizer, folder),
                   "continuations": check_continuations(model, tokenizer),
                   "likelihoods": check_likelihoods(directory, model, folder)}
    print("\n" + ", ".join(f"{name}: {'ok' if right else 'NOT OK'}" for name, right in results.items()))
    sys.exit(0 if all(results.values()) else 1)


if __name__ == "__main__":
    main()
