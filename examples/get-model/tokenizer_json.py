"""tokenizer.json and tokenizer_config.json: the same tokenizer as tokenizer_model.py writes, for the tokenizers library, so
that transformers needs neither SentencePiece nor protobuf to open the directory.

SentencePiece merges the adjacent pair whose joined piece has the best score; tokenizers wants the pairs themselves, best
first. They are all splits of a piece into two pieces."""

from tokenizer_model import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, USER_DEFINED


def merges(pieces):
    """[left, right] of every merge, best first. Only normal and user-defined pieces take part, as in SentencePiece."""
    ids = {text: index for index, (text, _, kind) in enumerate(pieces) if kind in (NORMAL, USER_DEFINED)}
    order = sorted(ids, key=lambda text: (-pieces[ids[text]][1], ids[text]))
    return [[text[:cut], text[cut:]] for text in order for cut in range(len(text) - 1, 0, -1)
            if text[:cut] in ids and text[cut:] in ids]


def added_tokens(pieces):
    """The pieces that are found in text before any merge. The special ones are left out of decoded text.

    User-defined pieces are looked for after spaces have become U+2581 ("normalized"), as SentencePiece does: otherwise the
    runs of spaces among them would never be found, and 32 spaces would be 16 and 16 instead of 31 and 1."""
    return [{"id": index, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": kind == USER_DEFINED, "special": kind in (CONTROL, UNKNOWN)}
            for index, (text, _, kind) in enumerate(pieces) if kind in (CONTROL, UNKNOWN, USER_DEFINED)]


def tokenizer(pieces, bos, unk):
    """The content of tokenizer.json; bos and unk are ids. BOS stands before each text."""
    if not any(kind == BYTE for _, _, kind in pieces):
        raise ValueError("the tokenizer has no byte pieces")
    begin = pieces[bos][0]
    start = {"SpecialToken": {"id": begin, "type_id": 0}}
    sequence = {name: {"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB")}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens(pieces),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing", "single": [start, sequence["A"]],
            "pair": [start, sequence["A"], {"SpecialToken": {"id": begin, "type_id": 1}}, sequence["B"]],
            "special_tokens": {begin: {"id": begin, "ids": [bos], "tokens": [begin]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": pieces[unk][0], "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": {text: index for index, (text, _, _) in enumerate(pieces)}, "merges": merges(pieces),
        },
    }


def tokenizer_config(pieces, context, ids):
    """The content of tokenizer_config.json; ids: {"pad": 0, ...}."""
    added = {str(token.pop("id")): token for token in added_tokens(pieces)}
    return {
        "add_bos_token": True, "add_eos_token": False, "added_tokens_decoder": added, "clean_up_tokenization_spaces": False,
        "model_max_length": context, "tokenizer_class": "GemmaTokenizer",
        **{f"{name}_token": pieces[index][0] for name, index in ids.items()},
    }
