"""A SentencePiece model file (tokenizer.model) from a list of pieces, scores and types.

The file is one protocol buffer message, sentencepiece_model.proto of SentencePiece 0.1.97; of its many fields only those
that a reader of a byte-pair model needs are written. Everything is in the standard library, and the same list gives the
same bytes."""

import struct

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE = 2
SPACE = "\u2581"

VARINT, LENGTH_DELIMITED, FIXED32 = 0, 2, 5


def varint(value):
    """A non-negative integer in base 128, lowest digits first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """One field of a message: the type of the value decides how it is written."""
    if isinstance(value, str):
        value = value.encode("utf-8")
    if isinstance(value, bytes):
        return varint(number << 3 | LENGTH_DELIMITED) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | FIXED32) + struct.pack("<f", value)
    return varint(number << 3 | VARINT) + varint(int(value))


def message(fields):
    return b"".join(field(number, value) for number, value in fields)


def original_pieces(tokens, scores, types, control_ids, unknown_id):
    """The pieces (text, score, type) as they stood in the tokenizer.model that a GGUF was made from.

    The converter of llama.cpp changes four things, which are undone here:
    * the unknown piece becomes a control piece; SentencePiece demands one of type UNKNOWN;
    * whatever looks like a marker (<start_of_turn>, <unused0>, <mask>) becomes a control piece. In Gemma's own file these
      are user-defined, so that they are found in text; only padding, end and beginning of text are control pieces;
    * the user-defined runs of spaces are written with spaces instead of SentencePiece's U+2581;
    * pieces that do not come of merges get the score -1000; SentencePiece's trainer gives them 0."""
    if not len(tokens) == len(scores) == len(types):
        raise ValueError(f"{len(tokens)} tokens, {len(scores)} scores and {len(types)} types: they must be equally many")
    pieces = []
    for index, (token, score, kind) in enumerate(zip(tokens, scores, types)):
        if index == unknown_id:
            kind = UNKNOWN
        elif kind == CONTROL and index not in control_ids:
            kind = USER_DEFINED
        if kind == USER_DEFINED:
            token = token.replace(" ", SPACE)
        pieces.append((token, float(score) if kind == NORMAL else 0.0, int(kind)))
    return pieces


def serialize(pieces, pad, eos, bos, unk):
    """The bytes of tokenizer.model: byte-pair merges with byte fallback, text taken as it is (no normalisation, no space
    put before it, no space dropped). pad, eos, bos and unk are ids."""
    special = {"unk": unk, "bos": bos, "eos": eos, "pad": pad}
    trainer = [(3, BPE), (4, len(pieces)), (35, True)]
    trainer += [(40 + i, index) for i, index in enumerate(special.values())]
    trainer += [(45 + i, pieces[index][0]) for i, index in enumerate(special.values())]
    normalizer = [(1, "identity"), (3, False), (4, False), (5, True)]
    parts = [field(1, message([(1, text), (2, score), (3, kind)])) for text, score, kind in pieces]
    return b"".join(parts) + field(2, message(trainer)) + field(3, message(normalizer))
