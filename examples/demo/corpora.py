#!/usr/bin/env python3
"""English and Lithuanian text that says the same things, from the message catalogues of small Debian packages.

A gettext catalogue maps an English message to its translation, so both languages cover the same topics and a
difference in loss is a difference of language. Messages of five words or more are kept as plain sentences; a sixth of
them, chosen by a hash of the English, is held out in both languages. No held-out message, in either language, shares
half or more of its three-word runs with a training message.

Writes en.train.jsonl, en.heldout.jsonl, lt.train.jsonl, lt.heldout.jsonl: one document of several messages a line, in
the field "text"; line n of the English and of the Lithuanian file are translations of each other. The text is not part
of this project: its licences are printed."""

import argparse
import gettext
import glob
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../text"))
from debian_packages import Packages, licences  # noqa: E402
from text_cleaning import NearDuplicates, acceptable, hash_unit, plain, words  # noqa: E402

PACKAGES = ["gramps", "evolution-common", "gnucash-common", "aptitude-common", "epiphany-browser-data"]
HELDOUT_SHARE = 0.15
DOCUMENT_CHARACTERS = 600
ENOUGH_MESSAGES = 2000


def catalogue_messages(path):
    """(English, Lithuanian) plain sentences of one .mo file."""
    try:
        with open(path, "rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog
    except (OSError, UnicodeError, ValueError) as error:
        print(f"corpora: {path} is not a readable catalogue ({error}); left out", file=sys.stderr)
        return
    for english, lithuanian in sorted((key, value) for key, value in catalogue.items() if isinstance(key, str)):
        yield plain(english.split("\x04")[-1]), plain(lithuanian)


def read_pairs(packages, names):
    """[(package, English, Lithuanian)], each sentence once, and the packages that could be had."""
    pairs, had, seen = [], [], set()
    for name in names:
        folder = packages.unpack(name)
        if folder is None:
            continue
        had.append(name)
        for path in sorted(glob.glob(os.path.join(folder, "usr/share/locale/lt/LC_MESSAGES/*.mo"))):
            for english, lithuanian in catalogue_messages(path):
                keys = {("en", *words(english)), ("lt", *words(lithuanian))}
                if acceptable(english, lithuanian) and not keys & seen:
                    seen |= keys
                    pairs.append((name, english, lithuanian))
    return pairs, had


def split(pairs):
    """(train, held out): by hash; a held-out pair that a training pair nearly repeats is dropped from both."""
    heldout = [pair for pair in pairs if hash_unit(pair[1]) < HELDOUT_SHARE]
    train = [pair for pair in pairs if hash_unit(pair[1]) >= HELDOUT_SHARE]
    repeated = set()
    for language in (1, 2):
        index = NearDuplicates(pair[language] for pair in heldout)
        for pair in train:
            repeated.update(index.matches(pair[language]))
    return train, [pair for number, pair in enumerate(heldout) if number not in repeated]


def documents(pairs):
    """Messages of one package, in the order of their hashes, put together to documents of about a paragraph."""
    result = []
    for package in sorted({pair[0] for pair in pairs}):
        english, lithuanian = [], []
        for _, left, right in sorted((pair for pair in pairs if pair[0] == package), key=lambda pair: hash_unit("order" + pair[1])):
            english.append(left)
            lithuanian.append(right)
            if sum(map(len, english)) >= DOCUMENT_CHARACTERS:
                result.append(("\n".join(english), "\n".join(lithuanian)))
                english, lithuanian = [], []
        if english:
            result.append(("\n".join(english), "\n".join(lithuanian)))
    return sorted(result, key=lambda pair: hash_unit(pair[0]))


def write_documents(path, texts):
    """One JSON object a line; written aside and renamed, so that a file that exists is whole."""
    with open(path + ".partial", "w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    os.replace(path + ".partial", path)
    kilobytes = os.path.getsize(path) / 1e3
    print(f"  {os.path.basename(path):18} {len(texts):6} documents {sum(len(text.split()) for text in texts):8} words {kilobytes:7.0f} kB")


def print_sources(packages, names):
    print("Text from Debian packages (not part of this project; their licences apply):")
    for name in names:
        version, size = packages.version_and_size(name)
        print(f"  {name} {version} ({size / 1e6:.1f} MB download): {licences(packages.unpack(name), name)}")


def aligned(packages):
    """(train, held out) message pairs of the demo's packages; ends the program when there is too little text."""
    pairs, had = read_pairs(packages, PACKAGES)
    print_sources(packages, had)
    if len(pairs) < ENOUGH_MESSAGES:
        sys.exit(f"corpora: only {len(pairs)} messages found, {ENOUGH_MESSAGES} are needed: is the network reachable, and does "
                 f"`apt-get download {PACKAGES[0]}` work in an empty folder?")
    return split(pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="build/demo/packages", help="folder for the packages (default: %(default)s)")
    parser.add_argument("--out", default="build/demo/text", help="folder for the text (default: %(default)s)")
    arguments = parser.parse_args()
    train, heldout = aligned(Packages(arguments.cache))
    os.makedirs(arguments.out, exist_ok=True)
    for part, pairs in (("train", train), ("heldout", heldout)):
        texts = documents(pairs)
        write_documents(os.path.join(arguments.out, f"en.{part}.jsonl"), [english for english, _ in texts])
        write_documents(os.path.join(arguments.out, f"lt.{part}.jsonl"), [lithuanian for _, lithuanian in texts])


if __name__ == "__main__":
    main()
