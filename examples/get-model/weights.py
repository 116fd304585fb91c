"""Weights in bf16 as a safetensors file."""

import json
import struct

import numpy


def to_bf16(values):
    """The nearest bf16 values, ties to even, as uint16. The weights are finite."""
    bits = numpy.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + (numpy.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype("<u2")


def write_bf16(path, shapes, values):
    """model.safetensors: an 8-byte length, a JSON header, the tensors in the order of `shapes`. values(name) gives one."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            tensor = values(name)
            if tensor.shape != tuple(shape) or not numpy.isfinite(tensor).all():
                raise ValueError(f"tensor {name}: shape {list(tensor.shape)}, expected {list(shape)} and finite values")
            file.write(to_bf16(tensor).tobytes())
