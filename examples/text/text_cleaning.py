"""From program messages to plain sentences, and finding sentences that say nearly the same."""

import hashlib
import html
import re

TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
PLACEHOLDER = re.compile(
    r"%%|%\([A-Za-z_][^)]*\)[-+ #0-9.*]*[A-Za-z]|%(?:\d+\$)?[-+ #'0-9.*]*(?:hh|h|ll|l|z|j|t)?[A-Za-z]"
    r"|%\d+|\$\{[^}]*\}|\{[^{}]*\}|\$[A-Za-z_]+|\\[nrt]")
ACCELERATOR = re.compile(r"(?<![A-Za-z0-9])[_&](?=\w)|(?<=\w)[_&](?=\w)")
SPACE_BEFORE = re.compile(r"\s+([.,;:!?)”»])")
EMPTY_PAIRS = re.compile(r"\(\s*\)|\[\s*\]|\"\s*\"|'\s*'|„\s*“|“\s*”|‘\s*’|«\s*»")
WORD = re.compile(r"[^\W\d_]+", re.UNICODE)


def plain(message):
    """A message without markup, accelerators and placeholders, on one line; "" when little of it is words."""
    text = html.unescape(message)
    text = TAG.sub(" ", text)
    if text.count("_") + text.count("&") == 1:
        text = ACCELERATOR.sub("", text)
    tokens_before = len(text.split())
    placeholders = len(PLACEHOLDER.findall(text))
    text = PLACEHOLDER.sub(" ", text)
    text = EMPTY_PAIRS.sub(" ", text)
    text = SPACE_BEFORE.sub(r"\1", " ".join(text.split())).strip(" -–—*•|")
    letters = sum(len(word) for word in WORD.findall(text))
    if placeholders * 3 > tokens_before or "_" in text or "://" in text or letters < 0.7 * len(text.replace(" ", "")):
        return ""
    return text


def words(text):
    """The words of a text, case folded: what two texts are compared by."""
    return [word.casefold() for word in WORD.findall(text)]


def hash_unit(text):
    """A number in [0, 1) that depends on the text alone: a split by it survives new versions of the packages."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64


def acceptable(english, translation, fewest_words=5):
    """Both long enough and really translated."""
    left, right = words(english), words(translation)
    if min(len(left), len(right), len(english.split()), len(translation.split())) < fewest_words:
        return False
    common = len(set(left) & set(right))
    return 2 * common < len(set(right)) and not 3 * len(right) < len(left) and not 3 * len(left) < len(right)


def shingles(text, length=3):
    """Its runs of three words: two texts that share most of them say the same."""
    sequence = words(text)
    return {tuple(sequence[i:i + length]) for i in range(max(1, len(sequence) - length + 1))}


class NearDuplicates:
    """Finds texts that contain at least half of the shingles of a remembered one."""

    def __init__(self, texts):
        self.sizes = []
        self.holders = {}
        for text in texts:
            runs = shingles(text)
            for run in runs:
                self.holders.setdefault(run, []).append(len(self.sizes))
            self.sizes.append(len(runs))

    def matches(self, text):
        """Numbers of the remembered texts of which `text` has half or more."""
        hits = {}
        for run in shingles(text):
            for holder in self.holders.get(run, ()):
                hits[holder] = hits.get(holder, 0) + 1
        return [holder for holder, count in hits.items() if 2 * count >= self.sizes[holder]]
