"""What the library must compute, by transformers' Gemma 2 and Gemma 3 and plain PyTorch, in double precision.

The model is transformers' Gemma2ForCausalLM or Gemma3ForCausalLM (eager attention), converted to float64. Its code casts to float32 in three
places, whatever the dtype of the model:
  * RMSNorm and the attention softmax: the casts are switched off here (`double_throughout`), so that the reference has
    errors of 1e-15 and not the same 1e-7 as what is tested;
  * RoPE: kept. Inverse frequencies, angles and their cosines are float32 in transformers, and at long positions the rounding
    of the angle is part of what a checkpoint was trained with.
The embedding's factor sqrt(hidden) is computed in the dtype of the model: not rounded here, as in float32.
transformers gives the embedding a padding index, which hides the gradient of that row's lookup: inputs here never contain it.
Everything above the model (losses, Fisher, optimizer) is written from the formulas of docs/ewc.md.
"""

import contextlib
import math

import torch
from transformers import AutoModelForCausalLM, Gemma3ForConditionalGeneration
from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding


@contextlib.contextmanager
def double_throughout():
    """Within it, float64 tensors stay float64 where transformers would cast them to float32, except in RoPE."""
    to_float, softmax = torch.Tensor.float, torch.nn.functional.softmax
    ropes = {kind: kind.forward for kind in (Gemma2RotaryEmbedding, Gemma3RotaryEmbedding)}

    def keep_double(self, *args, **kwargs):
        return self if self.dtype == torch.float64 else to_float(self, *args, **kwargs)

    def softmax_in_double(x, dim=None, dtype=None, **kwargs):
        return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype, **kwargs)

    def rope_in_float(self, *args, **kwargs):
        torch.Tensor.float = to_float
        try:
            return ropes[type(self)](self, *args, **kwargs)
        finally:
            torch.Tensor.float = keep_double

    torch.Tensor.float = keep_double
    torch.nn.functional.softmax = softmax_in_double
    for kind in ropes:
        kind.forward = rope_in_float
    try:
        yield
    finally:
        torch.Tensor.float = to_float
        torch.nn.functional.softmax = softmax
        for kind, rope in ropes.items():
            kind.forward = rope


def load(directory):
    """The model of a checkpoint with its weights as they are in the file, widened to float64."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.double().eval()


def load_text(directory):
    """The text model of a Gemma 3 checkpoint with a vision part, by itself."""
    whole = Gemma3ForConditionalGeneration.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    model = AutoModelForCausalLM.from_config(whole.config.get_text_config(), attn_implementation="eager")
    model.model.load_state_dict(whole.model.language_model.state_dict())
    return model.double().eval()


def parameters(model):
    """{name: tensor}; the tied head has no entry of its own, and its gradient is added to the embedding's by autograd."""
    return dict(model.named_parameters())


def log_probabilities(model, tokens, targets, document_start=None):
    """log p(target) at each position of one sequence [L]; 0 where the target is negative.

    Packed documents are run one after the other by themselves: the definition of what packing must not change."""
    starts = [0] if document_start is None else sorted(set(document_start.tolist()))
    pieces = []
    for start, end in zip(starts, starts[1:] + [len(tokens)]):
        with double_throughout():
            logits = model(input_ids=tokens[None, start:end], use_cache=False).logits[0]
        assert logits.dtype == next(model.parameters()).dtype
        wanted = targets[start:end]
        chosen = torch.log_softmax(logits, -1).gather(1, wanted.clamp(min=0)[:, None])[:, 0]
        pieces.append(torch.where(wanted >= 0, chosen, torch.zeros_like(chosen)))
    return torch.cat(pieces)


def batch_log_probabilities(model, batch):
    """[B, L] of a batch: a dict of tokens, targets [B, L] and optionally document_start [B, L] and weights [B]."""
    documents = batch.get("document_start")
    return torch.stack([
        log_probabilities(model, batch["tokens"][b], batch["targets"][b], None if documents is None else documents[b])
        for b in range(len(batch["tokens"]))])


def scored(batch):
    return int((batch["targets"] >= 0).sum())


def weighted_nll(model, batch):
    """sum_b w_b sum_t -log p, the sum that a step's loss is made of."""
    per_sequence = -batch_log_probabilities(model, batch).sum(1)
    weights = batch.get("weights")
    return per_sequence.sum() if weights is None else (per_sequence * weights).sum()


def gradient(model, value):
    """{name: d value / d parameter}."""
    named = parameters(model)
    return dict(zip(named, torch.autograd.grad(value, list(named.values()))))


# ---- Fisher diagonals, by brute force ---------------------------------------------------------------------------------

def sequences_of(batch):
    """The sequences that have scored tokens; the others do not count."""
    for b in range(len(batch["tokens"])):
        if (batch["targets"][b] >= 0).any():
            yield {name: values[b:b + 1] for name, values in batch.items()}


def unit_divisor(sequence, unit):
    return scored(sequence) if unit == "sequence_mean" else 1


def mean_of_squares(gradients):
    gradients = list(gradients)
    return {name: sum(g[name] ** 2 for g in gradients) / len(gradients) for name in gradients[0]}


def fisher_empirical(model, batch, unit):
    """Mean over sequences of (d l / d w)^2: one backward pass for every sequence."""
    return mean_of_squares(gradient(model, weighted_nll(model, s) / unit_divisor(s, unit)) for s in sequences_of(batch))


def fisher_batch_mean(model, batches, unit):
    """Mean over batches of (mean over the batch's sequences of d l / d w)^2."""
    def batch_gradient(batch):
        terms = [weighted_nll(model, s) / unit_divisor(s, unit) for s in sequences_of(batch)]
        return gradient(model, sum(terms) / len(terms))
    return mean_of_squares(batch_gradient(batch) for batch in batches)


def fisher_true(model, batch, unit):
    """What the `sampled` estimator has as its expectation: labels y drawn independently at every scored position t from
    the model's own softmax. Scores have mean zero, so that cross terms between positions vanish and the expected square is
    sum_t sum_y p_t(y) (d log p_t(y) / d w)^2, here by enumerating all labels."""
    named = parameters(model)
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for sequence in sequences_of(batch):
        count += 1
        with double_throughout():
            logits = model(input_ids=sequence["tokens"], use_cache=False).logits[0]
        log_p = torch.log_softmax(logits, -1)
        divisor = unit_divisor(sequence, unit) ** 2
        for t in torch.nonzero(sequence["targets"][0] >= 0)[:, 0].tolist():
            for y in range(log_p.shape[1]):
                scores = torch.autograd.grad(log_p[t, y], list(named.values()), retain_graph=True)
                for name, score in zip(named, scores):
                    total[name] += log_p[t, y].exp().detach() * score ** 2 / divisor
    return {name: t / count for name, t in total.items()}


# ---- Training ---------------------------------------------------------------------------------------------------------

def learning_rate(options, step):
    """Rate of step 1, 2, ...: linear warm-up, then constant or cosine from the peak to final_ratio * peak."""
    peak, warmup = options["peak"], options.get("warmup", 0)
    if step <= warmup:
        return peak * step / warmup
    if options.get("schedule", "constant") == "constant":
        return peak
    u = (step - warmup) / (options["steps"] - warmup)
    f = options.get("final_ratio", 0.0)
    return peak * (f + (1 - f) * (1 + math.cos(math.pi * u)) / 2)


def total_norm(gradients):
    return math.sqrt(sum(float((g ** 2).sum()) for g in gradients.values()))


def train(model, steps, options, fisher=None, anchor=None):
    """Trains in place; steps is a list of lists of micro-batches. Returns one record of statistics for every step.

    AdamW (Loshchilov and Hutter, 2019, algorithm 2) with the quadratic penalty lambda/2 sum F (w - anchor)^2 in the form
    options["form"]: none, gradient or proximal."""
    beta1, beta2, epsilon = options["beta1"], options["beta2"], options["epsilon"]
    form, strength = options["form"], options.get("lambda", 0.0)
    named = parameters(model)
    m = {name: torch.zeros_like(p) for name, p in named.items()}
    v = {name: torch.zeros_like(p) for name, p in named.items()}
    records = []
    for number, micro_batches in enumerate(steps, 1):
        tokens = sum(scored(batch) for batch in micro_batches)
        loss = sum(weighted_nll(model, batch) for batch in micro_batches) / tokens
        g = gradient(model, loss)
        with torch.no_grad():
            offset = {n: p - anchor[n] for n, p in named.items()} if form != "none" else {}
            pull = {n: strength * fisher[n] * offset[n] for n in offset}
            penalty = sum(float((pull[n] * offset[n]).sum()) / 2 for n in pull)
            distance = math.sqrt(sum(float((o ** 2).sum()) for o in offset.values()))
            total = {n: g[n] + pull[n] for n in g} if form == "gradient" else g
            norm = total_norm(g)
            clipped_norm = total_norm(total) if options.get("clip_mode", "task") == "total" else norm
            clip = options.get("clip", 0.0)
            factor = min(1.0, clip / clipped_norm) if clip > 0 else 1.0
            rate = learning_rate(options, number)
            for name, w in named.items():
                if form == "gradient" and options.get("clip_mode", "task") == "task":
                    total_gradient = factor * g[name] + pull[name]
                else:
                    total_gradient = factor * total[name]
                m[name].mul_(beta1).add_((1 - beta1) * total_gradient)
                v[name].mul_(beta2).add_((1 - beta2) * total_gradient ** 2)
                d = (v[name] / (1 - beta2 ** number)).sqrt() + epsilon
                decay = 0.0 if w.dim() == 1 else options.get("weight_decay", 0.0)
                moved = w * (1 - rate * decay) - rate * (m[name] / (1 - beta1 ** number)) / d
                if form == "proximal":
                    r = rate * strength * fisher[name] / d
                    moved = (moved + r * anchor[name]) / (1 + r)
                w.copy_(moved)
        records.append({"loss": loss.item(), "penalty": penalty, "gradient_norm": norm, "clip_factor": factor,
                        "learning_rate": rate, "distance": distance, "tokens": tokens})
    return records
