"""How alike two Fisher files are, from every Nth of their elements. Standard library only."""

import array
import json
import math
import mmap
import struct

SAMPLE = 300_000
GROUPS = {"embedding": ("embed_tokens",), "attention": ("self_attn",), "MLP": ("mlp",)}


def sample(path):
    """[(tensor, values)]: every Nth element of each tensor, the same of each file of one shape."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        total = sum(math.prod(entry["shape"]) for entry in header.values())
        step = max(1, total // SAMPLE) | 1  # odd: not always the same column of a matrix of even width
        result = []
        for name, entry in sorted(header.items()):
            if entry["dtype"] != "F32":
                raise ValueError(f"{path}: {name} is {entry['dtype']}; the comparison reads F32")
            begin, end = (start + offset for offset in entry["data_offsets"])
            with memoryview(data) as view, view[begin:end] as part, part.cast("f") as floats:
                result.append((name, array.array("f", floats[::step].tolist())))
        return result


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    for rank, index in enumerate(order):
        result[index] = rank
    return result


def pearson(a, b):
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    covariance = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    scale = math.sqrt(math.fsum((x - mean_a) ** 2 for x in a) * math.fsum((y - mean_b) ** 2 for y in b))
    return covariance / scale if scale > 0 else 0.0


def group_of(tensor):
    return next((group for group, words in GROUPS.items() if any(word in tensor for word in words)), "norms")


def shares(tensors):
    """Share of the sum that each group of tensors has."""
    sums = dict.fromkeys([*GROUPS, "norms"], 0.0)
    for name, values in tensors:
        sums[group_of(name)] += math.fsum(values)
    total = math.fsum(sums.values())
    return {group: value / total for group, value in sums.items()}


def compare(paths):
    """paths: {name: file}. Of each its shares by group; of each pair the correlation of values, of logarithms and of ranks."""
    tensors = {name: sample(path) for name, path in paths.items()}
    flat = {name: [value for _, values in parts for value in values] for name, parts in tensors.items()}
    if len({len(values) for values in flat.values()}) != 1:
        raise ValueError("the Fisher files have different shapes")
    rank = {name: ranks(values) for name, values in flat.items()}
    top = {name: set(sorted(range(len(values)), key=values.__getitem__)[-max(1, len(values) // 100):]) for name, values in flat.items()}
    logarithm = {name: [math.log(value + 1e-30) for value in values] for name, values in flat.items()}
    names = list(paths)
    pairs = [{"pair": [a, b], "pearson": pearson(flat[a], flat[b]), "pearson_of_logarithms": pearson(logarithm[a], logarithm[b]),
              "spearman": pearson(rank[a], rank[b]), "common_in_top_percent": len(top[a] & top[b]) / len(top[a])}
             for i, a in enumerate(names) for b in names[i + 1:]]
    return {"elements_compared": len(flat[names[0]]), "shares": {name: shares(parts) for name, parts in tensors.items()}, "pairs": pairs}
