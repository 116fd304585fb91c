"""Writes tests/fixtures: small Gemma 2 and Gemma 3 checkpoints and what transformers and PyTorch compute with them.

  window/    f32, newer config.json, one file: 3 layers (windowed, full, windowed), sequences longer than three windows, both
             softcaps reached: loss, log-likelihoods, gradients (plain, weighted sequences), a layer's residual stream
  sharded/   bf16, older config.json, sharded with an index: head_dim 256, three query heads on one key-value head
  packed/    f32, newer config.json without softcaps, layer types and theta not the default: several documents a sequence
  half/      f16, older config.json: Fisher diagonals by brute force, weights after AdamW+EWC steps
  gemma3/    Gemma 3 text, f32, newer config.json: norms of q and k, a base of its own for windowed layers, linear scaling
             by 8 in full ones: as window/, and Fisher diagonals by brute force
  vision/    Gemma 3 with a vision part, bf16: the text part alone, in its text_config and under its prefixed names
Each has a reference.safetensors beside the model: computed in float64; whole numbers are stored as
int32, single numbers as float64, all else as float32.
The same pinned versions give the same files on the same machine. Arguments: the names of those to make (default: all)."""

import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig

import reference as ref
from checkpoints import random_model, write_checkpoint

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "fixtures"


class Recorder:
    """Collects the tensors of one reference.safetensors."""

    def __init__(self):
        self.tensors = {}

    def add(self, name, value):
        value = torch.as_tensor(value).detach()
        self.tensors[name] = value.to(torch.float32 if value.is_floating_point() else torch.int32).contiguous().clone()

    def add_all(self, prefix, named):
        for name, value in named.items():
            self.add(f"{prefix}/{name}", value)

    def number(self, name, value):
        self.tensors[name] = torch.as_tensor(value).detach().double().reshape(1)

    def save(self, directory):
        save_file(self.tensors, directory / "reference.safetensors")


def random_batch(generator, vocab, sequences, length, unscored=0.2):
    """Tokens 1 .. vocab-1 (0 is transformers' padding index); targets with some positions not scored."""
    tokens = torch.randint(1, vocab, (sequences, length), generator=generator)
    targets = torch.randint(0, vocab, (sequences, length), generator=generator)
    hidden = torch.rand(sequences, length, generator=generator) < unscored
    return {"tokens": tokens, "targets": torch.where(hidden, -1, targets)}


def record_batch(recorder, prefix, batch):
    for name, values in batch.items():
        recorder.add(f"{prefix}/{name}", values)


def record_loss(recorder, prefix, model, batch):
    """Log-likelihoods, mean loss and gradient; checked against transformers' own float32 run of the same code."""
    record_batch(recorder, prefix, batch)
    log_p = ref.batch_log_probabilities(model, batch)
    recorder.add(f"{prefix}/log_probabilities", log_p)
    loss = ref.weighted_nll(model, batch) / ref.scored(batch)
    recorder.number(f"{prefix}/loss", loss)
    recorder.add_all(f"{prefix}/gradient", ref.gradient(model, loss))
    if "document_start" not in batch:
        single = AutoModelForCausalLM.from_config(model.config).float()
        single.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
        single.set_attn_implementation("eager")
        logits = single(input_ids=batch["tokens"]).logits
        own = torch.log_softmax(logits.double(), -1).gather(2, batch["targets"].clamp(min=0)[..., None])[..., 0]
        difference = ((own - log_p) * (batch["targets"] >= 0)).abs().max()
        print(f"  {prefix}: loss {loss.item():.6f}, float32 run differs by {difference.item():.1e} nats at most")
        assert difference < 1e-4


def fraction_beyond(model, batch, limit):
    """Shares of attention scores and final logits that lie beyond `limit` of their softcap: whether the caps bite."""
    seen = {"attention": [], "final": []}
    tanh = torch.tanh

    def spy(x):
        seen["attention" if x.dim() == 4 else "final"].append((x.abs() > limit).double().mean())
        return tanh(x)

    torch.tanh = spy
    try:
        ref.batch_log_probabilities(model, batch)
    finally:
        torch.tanh = tanh
    return {name: float(torch.stack(values).mean()) for name, values in seen.items() if values}


def window():
    generator = torch.Generator().manual_seed(20260101)
    config = Gemma2Config(
        vocab_size=131, hidden_size=20, intermediate_size=29, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, query_pre_attn_scalar=9, sliding_window=5, max_position_embeddings=64,
        attn_logit_softcapping=4.0, final_logit_softcapping=7.0, rms_norm_eps=1e-5, attn_implementation="eager")
    directory = write_checkpoint(random_model(config, generator, 0.45), OUT / "window", "float32", "newer")
    model, recorder = ref.load(directory), Recorder()

    batch = random_batch(generator, 131, 3, 19)
    record_loss(recorder, "plain", model, batch)
    shares = fraction_beyond(model, batch, 0.5)
    print(f"  beyond half of the softcap: {shares}")
    assert all(share > 0.05 for share in shares.values())

    weighted = dict(random_batch(generator, 131, 4, 17), weights=torch.tensor([1.0, -0.5, 0.0, 2.5]))
    record_loss(recorder, "weighted", model, weighted)

    # The residual stream after layer 1, and the gradient of  loss + sum(push * h)  as a hook makes it.
    push = torch.randn(3, 19, 20, generator=generator, dtype=torch.float64) * 0.01
    streams = []
    handle = model.model.layers[1].register_forward_hook(lambda module, inputs, output: streams.append(output))
    value = ref.weighted_nll(model, batch) / ref.scored(batch)
    handle.remove()
    hidden = torch.cat(streams)
    recorder.add("hook/hidden", hidden)
    recorder.add("hook/hidden_gradient", torch.cat(torch.autograd.grad(value, streams, retain_graph=True)))
    recorder.add("hook/push", push)
    recorder.add_all("hook/gradient", ref.gradient(model, value + (push * hidden).sum()))
    recorder.save(directory)


def gemma3_config(**changed):
    return Gemma3TextConfig(**{**dict(
        vocab_size=67, hidden_size=14, intermediate_size=17, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, query_pre_attn_scalar=9, sliding_window=5, max_position_embeddings=64,
        rms_norm_eps=1e-4, sliding_window_pattern=3, attn_implementation="eager", rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 3000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}), **changed})


def gemma3():
    generator = torch.Generator().manual_seed(20260105)
    directory = write_checkpoint(random_model(gemma3_config(), generator, 0.45), OUT / "gemma3", "float32", "newer")
    model, recorder = ref.load(directory), Recorder()
    batch = random_batch(generator, 67, 3, 19)
    record_loss(recorder, "plain", model, batch)
    starts = (torch.arange(19) >= 8).long().expand(3, 19) * 8
    record_loss(recorder, "documents", model, dict(batch, document_start=starts))
    record_batch(recorder, "fisher", batch)
    recorder.add_all("fisher/empirical/sequence_mean", ref.fisher_empirical(model, batch, "sequence_mean"))
    recorder.save(directory)


def vision():
    generator = torch.Generator().manual_seed(20260106)
    text = gemma3_config(vocab_size=41, hidden_size=10, num_hidden_layers=2, sliding_window_pattern=2)
    config = Gemma3Config(text_config=text, mm_tokens_per_image=1, image_token_index=40, vision_config={
        "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 4, "patch_size": 4})
    whole = random_model(config, generator, 0.4, Gemma3ForConditionalGeneration)
    directory = write_checkpoint(whole, OUT / "vision", "bfloat16", "newer")
    model, recorder = ref.load_text(directory), Recorder()
    record_loss(recorder, "plain", model, random_batch(generator, 40, 2, 11))
    recorder.save(directory)


def sharded():
    generator = torch.Generator().manual_seed(20260102)
    config = Gemma2Config(
        vocab_size=73, hidden_size=9, intermediate_size=7, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=144, sliding_window=3, max_position_embeddings=128,
        attn_logit_softcapping=6.0, attn_implementation="eager")
    directory = write_checkpoint(random_model(config, generator, 0.5), OUT / "sharded", "bfloat16", "older",
                                 shard="24KB")
    model, recorder = ref.load(directory), Recorder()
    batch = random_batch(generator, 73, 2, 11)
    record_loss(recorder, "plain", model, batch)
    recorder.save(directory)


def packed():
    generator = torch.Generator().manual_seed(20260103)
    config = Gemma2Config(
        vocab_size=41, hidden_size=10, intermediate_size=13, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=3, head_dim=4, query_pre_attn_scalar=5, sliding_window=4, max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 300.0}, rms_norm_eps=0.05, attn_logit_softcapping=None,
        final_logit_softcapping=None, layer_types=["full_attention", "sliding_attention", "full_attention"],
        attn_implementation="eager")
    directory = write_checkpoint(random_model(config, generator, 0.5), OUT / "packed", "float32", "newer")
    model, recorder = ref.load(directory), Recorder()
    batch = random_batch(generator, 41, 3, 23)
    record_loss(recorder, "plain", model, batch)
    starts = torch.zeros(3, 23, dtype=torch.int64)
    for sequence, boundaries in enumerate([(1, 2, 9), (12,), ()]):
        for boundary in boundaries:
            starts[sequence, boundary:] = boundary
    record_loss(recorder, "documents", model, dict(batch, document_start=starts))
    recorder.save(directory)


TRAINING = {
    "schedule": "cosine", "peak": 4e-3, "steps": 6, "warmup": 2, "final_ratio": 0.1,
    "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1,
}
RUNS = {
    "adamw": {"form": "none"},
    "clipped": {"form": "none", "clip": 0.7},
    "gradient": {"form": "gradient", "lambda": 3.0, "clip": 0.7},
    "gradient_total": {"form": "gradient", "lambda": 3.0, "clip": 0.7, "clip_mode": "total"},
    "proximal": {"form": "proximal", "lambda": 3.0, "clip": 0.7},
    "proximal_strong": {"form": "proximal", "lambda": 1e7},
    "two_tasks": {"form": "proximal", "lambda": 1.0},
}


def random_task(generator, named):
    """A Fisher with zeros in it and an anchor away from the weights, both exact in float32."""
    fisher, anchor = {}, {}
    for name, p in named.items():
        values = torch.rand(p.shape, generator=generator) ** 4
        values[torch.rand(p.shape, generator=generator) < 0.2] = 0.0
        fisher[name] = values.double()
        anchor[name] = (p.detach().float() + 0.05 * torch.randn(p.shape, generator=generator)).double()
    return fisher, anchor


def fold(tasks):
    """A = sum lambda F and c = sum lambda F anchor / A; where A = 0, c is the first anchor."""
    curvature = {n: sum(strength * fisher[n] for strength, fisher, _ in tasks) for n in tasks[0][1]}
    pulled = {n: sum(strength * fisher[n] * anchor[n] for strength, fisher, anchor in tasks) for n in curvature}
    centre = {n: torch.where(a > 0, pulled[n] / a.clamp(min=1e-300), tasks[0][2][n]) for n, a in curvature.items()}
    return curvature, centre


def half():
    generator = torch.Generator().manual_seed(20260104)
    config = Gemma2Config(
        vocab_size=31, hidden_size=12, intermediate_size=11, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=12, sliding_window=3, max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        attn_logit_softcapping=5.0, final_logit_softcapping=6.0, attn_implementation="eager")
    directory = write_checkpoint(random_model(config, generator, 0.4), OUT / "half", "float16", "older")
    model, recorder = ref.load(directory), Recorder()
    record_loss(recorder, "plain", model, random_batch(generator, 31, 2, 9))

    batch = random_batch(generator, 31, 5, 7, unscored=0.3)
    batch["targets"][3] = -1  # a sequence without scored tokens: skipped and not counted
    restricted = {"tokens": batch["tokens"], "targets": torch.full((5, 7), -1)}
    for sequence, position in enumerate([6, 2, 5, 0, 6]):
        restricted["targets"][sequence, position] = int(torch.randint(0, 31, (1,), generator=generator))
    record_batch(recorder, "fisher", batch)
    record_batch(recorder, "fisher_restricted", restricted)
    parts = [{name: values[a:b] for name, values in batch.items()} for a, b in ((0, 2), (2, 4), (4, 5))]
    for unit in ("sequence_mean", "sequence_sum"):
        recorder.add_all(f"fisher/empirical/{unit}", ref.fisher_empirical(model, batch, unit))
        recorder.add_all(f"fisher/batch_mean/{unit}", ref.fisher_batch_mean(model, parts, unit))
        recorder.add_all(f"fisher/true/{unit}", ref.fisher_true(model, batch, unit))
    recorder.add_all("fisher_restricted/empirical", ref.fisher_empirical(model, restricted, "sequence_mean"))

    steps = [[random_batch(generator, 31, 2, 8, unscored=0.1), random_batch(generator, 31, 1, 8, unscored=0.6)]
             for _ in range(5)]
    for number, micro_batches in enumerate(steps):
        for part, micro_batch in enumerate(micro_batches):
            record_batch(recorder, f"steps/{number}/{part}", micro_batch)
    named = ref.parameters(model)
    (fisher, anchor), (fisher2, anchor2) = random_task(generator, named), random_task(generator, named)
    for name, values in (("fisher", fisher), ("anchor", anchor), ("fisher2", fisher2), ("anchor2", anchor2)):
        recorder.add_all(f"steps/{name}", values)
    folded = fold(((2.0, fisher, anchor), (0.5, fisher2, anchor2)))
    for name, run in RUNS.items():
        trained = ref.load(directory)
        records = ref.train(trained, steps, {**TRAINING, **run}, *(folded if name == "two_tasks" else (fisher, anchor)))
        recorder.add_all(f"steps/{name}", ref.parameters(trained))
        for number, record in enumerate(records):
            for key, value in record.items():
                recorder.number(f"steps/{name}/{number}/{key}", value)
        if name == "adamw":
            agree_with_torch(directory, steps, trained)
        if "clip" in run:
            factors = [record["clip_factor"] for record in records]
            print(f"  {name}: clip factors {[round(f, 3) for f in factors]}")
            assert min(factors) < 0.95
    recorder.save(directory)


def agree_with_torch(directory, steps, trained):
    """The AdamW written out in reference.py against torch.optim.AdamW."""
    model = ref.load(directory)
    named = ref.parameters(model)
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in named.values() if p.dim() > 1]},
         {"params": [p for p in named.values() if p.dim() == 1], "weight_decay": 0.0}],
        betas=(TRAINING["beta1"], TRAINING["beta2"]), eps=TRAINING["epsilon"], weight_decay=TRAINING["weight_decay"])
    for number, micro_batches in enumerate(steps, 1):
        for group in optimizer.param_groups:
            group["lr"] = ref.learning_rate(TRAINING, number)
        optimizer.zero_grad()
        tokens = sum(ref.scored(batch) for batch in micro_batches)
        (sum(ref.weighted_nll(model, batch) for batch in micro_batches) / tokens).backward()
        optimizer.step()
    for name, p in ref.parameters(trained).items():
        assert torch.allclose(p, named[name], rtol=1e-9, atol=1e-12), name


def main():
    torch.set_num_threads(1)
    every = {make.__name__: make for make in (window, sharded, packed, half, gemma3, vision)}
    for make in [every[name] for name in sys.argv[1:]] or every.values():
        print(make.__name__)
        shutil.rmtree(OUT / make.__name__, ignore_errors=True)
        make()
    size = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"{size} bytes in all")
    assert size < 1_500_000


if __name__ == "__main__":
    main()
