"""Compares the driver ewc-cpt with transformers and PyTorch on random configurations.

  run.sh [--count N] [--seed S] [--keep]         EWC_BUILD: the build directory (default: build)

Configuration i is made from seed S + i alone, so that one that fails is repeated by --count 1 --seed (S + i). Each is saved
as a checkpoint of random element type, spelling and sharding; then compared with the reference in double precision:
  eval      per-token log-likelihoods                        within 2e-4 nats
  fisher    one estimator, unit and batch size               within 1e-3 of each tensor's largest entry
  train     movement of every tensor after a few steps       within 1 % of its length (where float32 can: see check_train)
  reload    the loss of what train wrote, in f32 and bf16, by transformers and by the driver, within 1e-5
In a third of them the driver has the tokens of the text alone (--vocab-from), and the reference logits of -inf for all others."""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import traceback

import numpy
import torch
from safetensors.torch import load_file
from transformers import Gemma2Config, Gemma3TextConfig

import reference as ref
from checkpoints import random_model, write_checkpoint

LIKELIHOOD, FISHER, MOVEMENT, RELOAD = 2e-4, 1e-3, 1e-2, 1e-5
BOS = 2
TABLE = "model.embed_tokens.weight"


class Difference(Exception):
    pass


def driver(build, *arguments):
    command = [str(build / "ewc-cpt"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Difference(f"{' '.join(command)}\nexit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def random_config(rng):
    """Sizes without any common factor to speak of; every optional feature on or off.

    Not a window of 1: with a single key in sight the gradients of q and k are zero, and what rounding leaves of zero Adam
    turns into steps of full size."""
    kv_heads = rng.choice([1, 1, 2, 3])
    layers = rng.randint(1, 4)
    kinds = ["sliding_attention", "full_attention"]
    third = rng.random() < 0.5
    sizes = dict(
        vocab_size=rng.randint(17, 400), hidden_size=rng.randint(6, 48), intermediate_size=rng.randint(5, 70),
        num_hidden_layers=layers, num_attention_heads=kv_heads * rng.choice([1, 2, 3]), num_key_value_heads=kv_heads,
        head_dim=rng.choice([2, 4, 6, 10, 16, 32, 34, 64]), query_pre_attn_scalar=rng.choice([4, 9, 16, 144]),
        sliding_window=rng.choice([2, 3, 5, 16, 70, 4096]), max_position_embeddings=512,
        attn_logit_softcapping=rng.choice([None] if third else [None, 2.0, 5.0, 50.0]),
        final_logit_softcapping=rng.choice([None, 4.0, 30.0]), rms_norm_eps=rng.choice([1e-6, 1e-5]),
        layer_types=rng.choice([None, [rng.choice(kinds) for _ in range(layers)]]), attn_implementation="eager")
    rope = {"rope_type": "default", "rope_theta": rng.choice([10000.0, 500.0])}
    if not third:
        return Gemma2Config(**sizes, rope_parameters=rope)
    scaling = rng.choice([{"rope_type": "default"}, {"rope_type": "linear", "factor": 8.0}])
    return Gemma3TextConfig(**sizes, sliding_window_pattern=rng.choice([2, 3, 6]), rope_parameters={
        "full_attention": {"rope_theta": rng.choice([1e6, 3000.0]), **scaling}, "sliding_attention": rope})


def movement_difference(found, exact, start):
    """Largest over the tensors: how far apart the two movements are, relative to the exact one."""
    worst = 0.0
    for name, expected in exact.items():
        moved = (expected - start[name]).norm()
        worst = max(worst, ((found[name] - expected).norm() / moved).item() if moved > 0 else 0.0)
    return worst


class Case:
    def __init__(self, seed, build, directory):
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.build, self.directory = build, directory
        self.config = random_config(self.rng)
        self.dtype = self.rng.choice(["float32", "bfloat16", "float16"])
        # The older spelling has no layer types: it stands for the default ones.
        default = type(self.config)(
            num_hidden_layers=self.config.num_hidden_layers,
            sliding_window_pattern=getattr(self.config, "_sliding_window_pattern", None)).layer_types
        self.spelling = self.rng.choice(["older", "newer"]) if self.config.layer_types == default else "newer"
        self.shard = self.rng.choice(["5GB", "20KB"])
        model = random_model(self.config, self.generator, self.rng.choice([0.15, 0.3, 0.5]))
        self.model = write_checkpoint(model, directory / "model", self.dtype, self.spelling, self.shard)
        # One in four is long enough for several tiles of attention.
        long = self.rng.random() < 0.25
        self.length = self.rng.randint(130, 400) if long else self.rng.randint(3, 40)
        self.sequences = 3 if long else self.rng.randint(4, 9)
        listing = random.Random(seed + 2**32)
        self.pool = torch.arange(self.config.vocab_size)  # where the text's tokens are from
        if listing.random() < 1 / 3:
            self.pool = torch.tensor(sorted({BOS, *listing.sample(range(1, self.config.vocab_size), self.config.vocab_size // 2)}))
        self.write_tokens()

    def write_tokens(self):
        """A stream of ids with BOS here and there and a remainder behind its last sequence; transformers' padding index does
        not occur."""
        count = self.sequences * self.length + 1 + self.rng.randrange(self.length)
        ids = torch.randint(1, self.config.vocab_size, (count,), generator=self.generator)
        if len(self.pool) < self.config.vocab_size:
            ids = self.pool[ids % len(self.pool)]
        ids[torch.rand(count, generator=self.generator) < 0.1] = BOS
        self.tokens = self.directory / "tokens.npy"
        numpy.save(self.tokens, ids.numpy().astype(self.rng.choice(["uint16", "uint32", "int32"])))
        inputs, targets = ids[:-1], ids[1:]
        used = self.sequences * self.length
        self.batch = {"tokens": inputs[:used].view(-1, self.length), "targets": targets[:used].view(-1, self.length)}
        self.flags = ["--documents"] if self.rng.random() < 0.4 else []
        if self.flags:
            starts = torch.arange(self.length) * (self.batch["tokens"] == BOS)
            self.batch["document_start"] = starts.cummax(1).values

        special = {self.config.bos_token_id, self.config.eos_token_id, self.config.pad_token_id}
        self.listed = torch.arange(self.config.vocab_size)
        if len(self.pool) < self.config.vocab_size:
            self.flags += ["--vocab-from", self.tokens]
            self.listed = torch.tensor(sorted(special.union(ids.tolist())))
        self.others = torch.ones(self.config.vocab_size, dtype=torch.bool)
        self.others[self.listed] = False

    def load(self, directory):
        """The reference, in which tokens that are not listed have no probability."""
        model = ref.load(directory)

        def mask(_module, _arguments, output):
            output.logits = output.logits.masked_fill(self.others, -torch.inf)
            return output

        if self.others.any():
            model.register_forward_hook(mask)
        return model

    def whole_table(self, values, others):
        """Tensors with the table of the listed tokens, and for the rest of its rows those of `others` or zero."""
        table = torch.zeros(self.config.vocab_size, self.config.hidden_size, dtype=values[TABLE].dtype)
        if others is not None:
            table = others[TABLE].to(values[TABLE].dtype).clone()
        table[self.listed] = values[TABLE]
        return {**values, TABLE: table}

    def select(self, numbers):
        """The sequences of those numbers in the endless order, which wraps at the end."""
        return {name: values[[n % self.sequences for n in numbers]] for name, values in self.batch.items()}

    def check_eval(self):
        """Largest difference of a token's log-likelihood."""
        per_token = self.directory / "log_probabilities.npy"
        printed = driver(self.build, "eval", "--model", self.model, "--data", f"text={self.tokens}", "--length", self.length,
                         "--per-token", per_token, "--json", *self.flags)
        with torch.no_grad():
            expected = ref.batch_log_probabilities(self.load(self.model), self.batch).reshape(-1)
        found = torch.from_numpy(numpy.load(per_token)).double()
        if found.shape != expected.shape:
            raise Difference(f"eval: expected {expected.numel()} log-likelihoods, found {found.numel()}")
        report = json.loads(printed)
        if report["name"] != "text" or report["tokens"] != expected.numel():
            raise Difference(f"eval: unexpected report {printed}")
        if abs(report["nll"] + expected.mean().item()) > LIKELIHOOD:
            raise Difference(f"eval: mean loss {report['nll']}, expected {-expected.mean().item()}")
        return (found - expected).abs().max().item()

    def check_fisher(self):
        """Largest difference, relative to the largest entry of its tensor."""
        unit = self.rng.choice(["sequence_mean", "sequence_sum"])
        estimator = self.rng.choice(["empirical", "empirical", "empirical_signs", "batch_mean"])
        count = self.rng.randint(2, self.sequences)
        batch = 1 if estimator == "empirical_signs" else self.rng.randint(1, 3)
        self.fisher = self.directory / "fisher.safetensors"
        driver(self.build, "fisher", "--model", self.model, "--data", self.tokens, "--length", self.length, "--sequences",
               count, "--batch", batch, "--estimator", estimator, "--unit", unit, "--order", "sequential", "--out", self.fisher,
               *self.flags)
        model = self.load(self.model)
        if estimator == "batch_mean":
            parts = [self.select(range(first, min(first + batch, count))) for first in range(0, count, batch)]
            expected = ref.fisher_batch_mean(model, parts, unit)
        else:
            expected = ref.fisher_empirical(model, self.select(range(count)), unit)
        found = self.whole_table(load_file(self.fisher), None)
        if set(found) != set(expected):
            raise Difference(f"fisher: tensors {sorted(set(found) ^ set(expected))}")
        return max(((found[n].double() - e).abs().max() / e.abs().max()).item() for n, e in expected.items() if e.any())

    def check_train(self):
        """Largest difference of a tensor's movement, relative to that movement.

        Adam's epsilon is 1e-6 here, so that an entry whose gradient is nothing but rounding does not move its weight at full
        speed: with 1e-8, one such weight in a small tensor can be a percent of the movement, in PyTorch's float32 as well.
        Some random models are so ill-conditioned that no float32 run stays within a percent: where PyTorch's own does not,
        twice its difference is allowed, and said."""
        form, schedule = self.rng.choice(["proximal", "gradient", "none"]), self.rng.choice(["constant", "cosine"])
        batch, accumulate, steps = self.rng.randint(1, 2), self.rng.randint(1, 3), self.rng.randint(3, 5)
        options = {"form": form, "schedule": schedule, "peak": 2e-3, "steps": steps, "warmup": 1, "beta1": 0.9,
                   "beta2": 0.95, "epsilon": 1e-6, "weight_decay": 0.1, "clip": self.rng.choice([0.0, 0.5])}
        arguments = ["--batch", batch, "--accumulate", accumulate, "--steps", steps, "--lr", options["peak"], "--schedule",
                     schedule, "--warmup", 1, "--beta1", 0.9, "--beta2", 0.95, "--eps", 1e-6, "--weight-decay", 0.1,
                     "--clip", options["clip"], "--order", "sequential", "--save-dtype", "f32", *self.flags]
        anchor = fisher = None
        if form != "none":
            fisher = {n: t.double() for n, t in load_file(self.fisher).items()}
            mean = sum(t.sum() for t in fisher.values()) / sum(t.numel() for t in fisher.values())
            options["lambda"] = float(f"{1.0 / mean.item():.3g}")
            fisher = self.whole_table(fisher, None)
            start = ref.parameters(self.load(self.model))
            anchor = {n: p.detach().clone() for n, p in start.items()}
            arguments += ["--fisher", self.fisher, "--lambda", options["lambda"], "--penalty", form]
        self.out = self.directory / "trained"
        driver(self.build, "train", "--model", self.model, "--data", self.tokens, "--length", self.length, *arguments, "--out",
               self.out)
        per_step = batch * accumulate
        taken = [[self.select(range(s * per_step + a * batch, s * per_step + (a + 1) * batch)) for a in range(accumulate)]
                 for s in range(steps)]
        start = {n: p.detach().clone() for n, p in ref.parameters(self.load(self.model)).items()}
        exact = self.trained(self.load(self.model), taken, options, fisher, anchor, start)
        found = ref.parameters(ref.load(self.out))
        if not torch.equal(found[TABLE][self.others], start[TABLE][self.others]):
            raise Difference("train: rows of tokens that are not listed are not the checkpoint's")
        worst = movement_difference(found, exact, start)
        if worst > MOVEMENT:
            own = movement_difference(self.trained(self.load(self.model).float(), taken, options, fisher, anchor, start), exact, start)
            if worst <= 2 * own:
                print(f"        seed below: movement differs by {worst:.1e}, PyTorch's own float32 run by {own:.1e}")
                return MOVEMENT
        return worst

    def trained(self, model, taken, options, fisher, anchor, start):
        """Weights after training; rows of tokens that are not listed as they were, since weight decay would move them."""
        dtype = next(model.parameters()).dtype
        fisher, anchor = ({n: t.to(dtype) for n, t in (values or {}).items()} for values in (fisher, anchor))
        ref.train(model, taken, options, fisher, anchor)
        moved = {n: p.detach() for n, p in ref.parameters(model).items()}
        return self.whole_table({**moved, TABLE: moved[TABLE][self.listed]}, start)

    def check_reload(self):
        """Largest difference between driver and transformers in the loss of what train wrote, in f32 and, rounded, in bf16."""
        rounded = self.directory / "rounded"
        driver(self.build, "train", "--model", self.out, "--data", self.tokens, "--length", self.length, "--batch", 1, "--steps",
               1, "--lr", 0, "--save-dtype", "bf16", *self.flags, "--out", rounded)
        stored = {t.dtype for file in rounded.glob("*.safetensors") for t in load_file(file).values()}
        if stored != {torch.bfloat16}:
            raise Difference(f"reload: --save-dtype bf16 stored {stored}")
        worst = 0.0
        for directory in (self.out, rounded):
            printed = driver(self.build, "eval", "--model", directory, "--data", f"text={self.tokens}", "--length", self.length,
                             "--json", *self.flags)
            model = self.load(directory)
            with torch.no_grad():
                expected = (ref.weighted_nll(model, self.batch) / ref.scored(self.batch)).item()
            worst = max(worst, abs(json.loads(printed)["nll"] - expected))
        return worst

    def describe(self):
        c = self.config
        window = "".join("w" if t == "sliding_attention" else "f" for t in c.layer_types)
        return (f"{c.model_type[:6]} V{c.vocab_size} H{c.hidden_size} F{c.intermediate_size} {c.num_attention_heads}/{c.num_key_value_heads}"
                f"x{c.head_dim} {window} T{self.length} {self.dtype} {self.spelling}{' documents' if '--documents' in self.flags else ''}"
                f"{f' listed {len(self.listed)}' if self.others.any() else ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints and say where they are")
    options = parser.parse_args()
    build = pathlib.Path(os.environ.get("EWC_BUILD", "build")).resolve()
    torch.set_num_threads(1)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="ewc-live-"))
    print(f"{'seed':>6}  {'configuration':73} {'eval':>8} {'fisher':>8} {'train':>8} {'reload':>8}")
    passed = failed = 0
    for seed in range(options.seed, options.seed + options.count):
        directory = scratch / str(seed)
        directory.mkdir()
        line, problem = f"{seed:6}  ", None
        try:
            case = Case(seed, build, directory)
            line += f"{case.describe():73}"
            for check, limit in ((case.check_eval, LIKELIHOOD), (case.check_fisher, FISHER), (case.check_train, MOVEMENT),
                                 (case.check_reload, RELOAD)):
                difference = check()
                line += f" {difference:8.1e}"
                if not difference <= limit:
                    problem = problem or f"{check.__name__}: {difference:.3g} is more than {limit:g}"
        except Difference as difference:
            problem = str(difference)
        except Exception:
            problem = traceback.format_exc()
        print(line + ("" if problem is None else "  FAILED\n        " + problem.replace("\n", "\n        ")), flush=True)
        passed, failed = passed + (problem is None), failed + (problem is not None)
    if options.keep:
        print(f"kept: {scratch}")
    else:
        shutil.rmtree(scratch)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
