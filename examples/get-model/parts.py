"""Joining a file that is published in parts, and verifying it."""

import hashlib
import pathlib

BLOCK = 1 << 20


class Damaged(ValueError):
    """What is installed is not what was published."""


def published_sums(path):
    """{file name: SHA-256} of a SHA256SUMS file."""
    sums = {}
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.strip().partition(" ")
        if name:
            sums[name.lstrip(" *")] = digest.lower()
    return sums


def join(parts, target, digest):
    """Writes the parts one behind the other to target; a result whose SHA-256 is not `digest` is removed and refused."""
    found = hashlib.sha256()
    target = pathlib.Path(target)
    with open(target, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                while block := file.read(BLOCK):
                    found.update(block)
                    out.write(block)
    if found.hexdigest() != digest:
        size = target.stat().st_size
        target.unlink()
        raise Damaged(f"{target.name}: the SHA-256 of its {len(parts)} parts ({size} bytes) is {found.hexdigest()}, "
                      f"expected {digest}: a part is damaged")
