"""The peer: transformers' Gemma 2 under PyTorch with AdamW and the EWC penalty as published, on a shape of bench-step.

  peer.py --shape S|M|G [--compile] [--threads N] [--repetitions N] [--json FILE]

Everything in float32, attention eager, random weights and tokens; AdamW with decay 0.1 and the fused update, gradients clipped at 1. The
penalty is part of the loss, lambda/2 sum F (p - p0)^2 over all parameters, and goes through autograd (Kirkpatrick et al., 2017).
Each repetition times forward and backward of the task's loss alone, then a whole step; medians after one of each that is
not counted. --compile: the model under torch.compile, the rest as it is."""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import torch
import transformers
from transformers import Gemma2Config, Gemma2ForCausalLM

# As in bench/support/shapes.c; compare.py checks that parameters and tokens agree.
SHAPES = {
    "S": dict(vocab=4096, hidden=256, layers=6, heads=4, kv_heads=2, head_dim=64, intermediate=1024, window=128, sequences=8, length=256),
    "M": dict(vocab=32000, hidden=768, layers=12, heads=8, kv_heads=4, head_dim=128, intermediate=3072, window=512, sequences=4,
              length=512),
    "G": dict(vocab=262144, hidden=640, layers=18, heads=4, kv_heads=1, head_dim=256, intermediate=2048, window=512, sequences=2,
              length=512),
}
LAMBDA, CLIP = 1.0, 1.0


def make_model(shape):
    config = Gemma2Config(
        vocab_size=shape["vocab"], hidden_size=shape["hidden"], intermediate_size=shape["intermediate"],
        num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"], query_pre_attn_scalar=shape["head_dim"], sliding_window=shape["window"],
        max_position_embeddings=shape["length"], attn_implementation="eager", use_cache=False, dtype=torch.float32)
    model = Gemma2ForCausalLM(config)
    model.train()
    return model


def make_optimizer(parameters):
    options = dict(lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1)
    try:
        return torch.optim.AdamW(parameters, fused=True, **options)
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(parameters, **options)


class Peer:
    def __init__(self, shape, compile_model):
        torch.manual_seed(1)
        model = make_model(shape)
        self.parameters = list(model.parameters())
        self.optimizer = make_optimizer(self.parameters)
        self.fisher = [torch.rand_like(p) * 1e-6 for p in self.parameters]
        self.anchor = [p.detach().clone() for p in self.parameters]
        self.tokens = torch.randint(0, shape["vocab"], (shape["sequences"], shape["length"]))
        self.model = torch.compile(model) if compile_model else model

    def task(self):
        return self.model(input_ids=self.tokens, labels=self.tokens).loss

    def penalty(self):
        return LAMBDA / 2 * sum((f * (p - a) ** 2).sum() for f, p, a in zip(self.fisher, self.parameters, self.anchor))

    def forward_backward(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.task().backward()

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.task() + self.penalty()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        return loss.item()


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="M")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = SHAPES[arguments.shape]
    peer = Peer(shape, arguments.compile)
    passes, steps = [], []
    for repetition in range(-1, arguments.repetitions):
        times = seconds(peer.forward_backward), seconds(peer.step)
        if repetition >= 0:
            passes.append(times[0])
            steps.append(times[1])
    result = {
        "shape": arguments.shape, "mode": "compiled" if arguments.compile else "eager", "threads": arguments.threads,
        "torch": torch.__version__, "transformers": transformers.__version__, "repetitions": arguments.repetitions,
        "sequences": shape["sequences"], "length": shape["length"], "tokens": shape["sequences"] * shape["length"],
        "parameters": sum(p.numel() for p in peer.parameters), "forward_backward_seconds": statistics.median(passes),
        "step_seconds": statistics.median(steps), "peak_bytes": peak_bytes(),
    }
    text = json.dumps(result, indent=2)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    sys.exit(main())
