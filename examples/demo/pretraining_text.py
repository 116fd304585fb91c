#!/usr/bin/env python3
"""The English text that the demo's small model is pre-trained on, and the text its tokenizer is made from.

Only needed to make the model again (make-model.sh); downloads about 100 MB. Essays and manuals from Debian packages, the
English training messages of corpora.py and those of more catalogues. Whatever repeats half of the three-word runs of a
held-out message of the demo is left out, so that the demo's held-out English is new to the model.

Writes en.pretrain.jsonl, tokenizer.txt and en.recent.jsonl (the messages again: seen last, at the low end of the
learning rate)."""

import argparse
import glob
import json
import os
import sys

from corpora import (aligned, catalogue_messages, documents, print_sources, write_documents)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../text"))
from debian_packages import Packages  # noqa: E402
from pages import markdown_paragraphs, page_paragraphs  # noqa: E402
from text_cleaning import NearDuplicates, hash_unit, plain, words  # noqa: E402

CATALOGUES = ["gimp-data", "vlc-l10n", "pidgin-data", "gnome-control-center-data", "nautilus-data", "synaptic", "coreutils", "dpkg",
              "wesnoth-1.16-httt", "wesnoth-1.16-nr", "wesnoth-1.16-low", "wesnoth-1.16-dm"]
MARKDOWN = {"anarchism": "usr/share/doc/anarchism/markdown/*.md.gz"}
PAGES = {"debian-handbook": "usr/share/doc/debian-handbook/html/en-US/*.html",
         "gimp-help-en": "usr/share/gimp/2.0/help/en/*.html",
         "gnome-user-docs": "usr/share/help/C/gnome-help/*.page"}
DOCUMENT_CHARACTERS = 2400
TOKENIZER_ENGLISH = 0.12
TOKENIZER_LITHUANIAN_REPEATS = 4


def join_paragraphs(paragraphs):
    """Documents of about a page from the paragraphs of one file."""
    part = []
    for paragraph in paragraphs:
        part.append(paragraph)
        if sum(map(len, part)) >= DOCUMENT_CHARACTERS:
            yield "\n".join(part)
            part = []
    if part:
        yield "\n".join(part)


def running_text(packages, heldout):
    """Documents of essays and manuals, each paragraph once, none that repeats held-out text."""
    seen = set()

    def fresh(paragraphs):
        for paragraph in paragraphs:
            key = " ".join(words(paragraph))
            if key not in seen and paragraph.isprintable() and not heldout.matches(paragraph):
                seen.add(key)
                yield paragraph

    for sources, reader in ((MARKDOWN, markdown_paragraphs), (PAGES, page_paragraphs)):
        for name, pattern in sources.items():
            folder = packages.unpack(name)
            for path in sorted(glob.glob(os.path.join(folder, pattern))) if folder else ():
                yield from join_paragraphs(fresh(reader(path)))


def other_messages(packages, heldout, known):
    """English messages of more catalogues."""
    seen = {tuple(words(pair[1])) for pair in known}
    for name in CATALOGUES:
        folder = packages.unpack(name)
        pattern = os.path.join(folder or "", "usr/share/**/lt/LC_MESSAGES/*.mo")
        for path in sorted(glob.glob(pattern, recursive=True)) if folder else ():
            for english, _ in catalogue_messages(path):
                key = tuple(words(english))
                if len(key) >= 4 and key not in seen and not heldout.matches(english):
                    seen.add(key)
                    yield name, english, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="build/demo/packages", help="folder for the packages (default: %(default)s)")
    parser.add_argument("--out", default="build/model/text", help="folder for the text (default: %(default)s)")
    arguments = parser.parse_args()
    packages = Packages(arguments.cache)
    train, heldout_pairs = aligned(packages)
    heldout = NearDuplicates(pair[1] for pair in heldout_pairs)
    messages = train + list(other_messages(packages, heldout, train))
    running = list(running_text(packages, heldout))
    print_sources(packages, [*CATALOGUES, *MARKDOWN, *PAGES])
    os.makedirs(arguments.out, exist_ok=True)
    recent = [english for english, _ in documents(messages)]
    mixed = sorted(running + recent, key=lambda text: hash_unit("pretrain" + text))
    write_documents(os.path.join(arguments.out, "en.recent.jsonl"), recent)
    write_documents(os.path.join(arguments.out, "en.pretrain.jsonl"), mixed)
    with open(os.path.join(arguments.out, "tokenizer.txt"), "w", encoding="utf-8") as file:
        for text in recent + [text for text in running if hash_unit("tokenizer" + text) < TOKENIZER_ENGLISH]:
            file.write(text + "\n")
        for _ in range(TOKENIZER_LITHUANIAN_REPEATS):
            file.writelines(lithuanian + "\n" for _, _, lithuanian in train)
    return 0


if __name__ == "__main__":
    sys.exit(main())
