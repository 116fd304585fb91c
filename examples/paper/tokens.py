"""Token files (.npy) of a study: how long they are, and the first sequences or those behind them as a file of their own. Standard library only."""

import ast
import os
import struct

MAGIC = b"\x93NUMPY\x01\x00"


def read_header(file):
    """(element type, number of elements) of a one-dimensional .npy file; the file then stands at its data."""
    if file.read(8) != MAGIC:
        raise ValueError(f"{file.name} is not a .npy file of version 1.0")
    header = ast.literal_eval(file.read(struct.unpack("<H", file.read(2))[0]).decode("latin-1"))
    return header["descr"], header["shape"][0]


def count(path):
    with open(path, "rb") as file:
        return read_header(file)[1]


def cut(path, out, length, first, sequences):
    """Writes up to `sequences` whole sequences of `length` tokens from sequence `first` on, with the last one's target; returns how many."""
    with open(path, "rb") as file:
        descr, tokens = read_header(file)
        size = int(descr[-1])
        whole = max(0, min(sequences, (tokens - 1) // length - first))
        file.seek(first * length * size, os.SEEK_CUR)
        data = file.read((whole * length + 1) * size)
    if whole == 0:
        raise ValueError(f"{path}: {tokens} tokens are too few for a sequence of {length} behind {first} others")
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({len(data) // size},), }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    with open(out + ".partial", "wb") as file:
        file.write(MAGIC + struct.pack("<H", len(header)) + header.encode() + data)
    os.replace(out + ".partial", out)
    return whole
