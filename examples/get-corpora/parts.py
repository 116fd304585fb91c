"""From documents to a training and a held-out part that share neither documents nor sentences.

1. A document goes to the held-out part when the hash of its name is under the source's share: the split is a function
   of the name alone and the same in every language.
2. Within a part a line is dropped when its words (letters only, case folded) were seen before in any of its languages,
   or when earlier lines contain four fifths or more of its runs of three words.
3. A held-out line is dropped when a training line of the language, of this source or of one made before it, contains
   half or more of its runs of three words, or any of its runs of eight words.
4. A training line is dropped when it does the same to a held-out line of a source made before it.
   In lines of several languages one language is enough to drop the line in all of them: they stay aligned."""

import gzip
import json
import os

from text_cleaning import NearDuplicates, hash_unit, shingles, words

REPEATED_SHARE = 0.8
LONG_RUN = 8


class Repeats:
    """Remembered lines, and which of them another line repeats."""

    def __init__(self, lines):
        self.near = NearDuplicates(lines)
        self.holders = {}
        for number, line in enumerate(lines):
            if len(words(line)) >= LONG_RUN:
                for run in shingles(line, LONG_RUN):
                    self.holders.setdefault(run, []).append(number)

    def matches(self, line):
        """Numbers of the remembered lines that share a long run with `line` or have half of their short runs in it."""
        found = set(self.near.matches(line))
        for run in shingles(line, LONG_RUN):
            found.update(self.holders.get(run, ()))
        return found


def split(documents, share):
    """(train, held out) by the hash of the names; both in the order of another hash, so that a beginning is a sample."""
    ordered = sorted(documents, key=lambda document: hash_unit("order " + document[0]))
    heldout = [document for document in ordered if hash_unit(document[0]) < share]
    train = [document for document in ordered if hash_unit(document[0]) >= share]
    return train, heldout


def without_repeats(documents, dropped):
    """The documents without lines that earlier ones of the same part say already."""
    seen, runs = set(), set()
    for name, lines in documents:
        fresh = []
        for line in lines:
            keys = {(language, *words(text)) for language, text in enumerate(line)}
            parts = [{(language, *run) for run in shingles(text)} for language, text in enumerate(line)]
            if keys & seen:
                dropped["said before, word for word"] += 1
            elif any(len(part & runs) >= REPEATED_SHARE * len(part) for part in parts):
                dropped["said before, nearly"] += 1
            else:
                seen |= keys
                runs.update(*parts)
                fresh.append(line)
        if fresh:
            yield name, fresh


def filtered(documents, drop):
    """The documents without the lines whose running numbers are in `drop`."""
    result, number = [], 0
    for name, lines in documents:
        kept = []
        for line in lines:
            if number not in drop:
                kept.append(line)
            number += 1
        if kept:
            result.append((name, kept))
    return result


def texts(documents, language):
    return [line[language] for _, lines in documents for line in lines]


def separate(train, heldout, earlier, dropped):
    """Train and held-out documents without what the other part (or `earlier`: for each language the texts of the train
    and held-out parts of sources made before) says."""
    from_train, from_heldout = set(), set()
    for language, (earlier_train, earlier_heldout) in enumerate(earlier):
        known = Repeats(earlier_heldout)
        for number, text in enumerate(texts(train, language)):
            if earlier_heldout and known.matches(text):
                from_train.add(number)
        index = Repeats(texts(heldout, language))
        for text in [*texts(train, language), *earlier_train]:
            from_heldout |= index.matches(text)
    dropped["training line like held-out text of another source"] += len(from_train)
    dropped["held-out line like training text"] += len(from_heldout)
    return filtered(train, from_train), filtered(heldout, from_heldout)


def make(documents, share, earlier, dropped):
    """(train, held out) of a source's documents."""
    train, heldout = split(documents, share)
    return separate(list(without_repeats(train, dropped)), list(without_repeats(heldout, dropped)), earlier, dropped)


def write(path, documents, language):
    """A line of JSON a document, gzipped, written aside and renamed; returns what is in it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".partial", "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
        for name, lines in documents:
            text = "\n".join(line[language] for line in lines)
            file.write((json.dumps({"name": name, "text": text}, ensure_ascii=False) + "\n").encode())
    os.replace(path + ".partial", path)
    every = texts(documents, language)
    return {"documents": len(documents), "lines": len(every), "words": sum(len(text.split()) for text in every),
            "bytes": sum(len(text.encode()) + 1 for text in every)}


def read(path):
    """The documents of a written file, as (name, [line, ...])."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            document = json.loads(line)
            yield document["name"], document["text"].split("\n")
