"""Sentences out of translators' files: gettext .po files, LibreOffice's help, dialogue in Wesnoth's scenarios."""

import ast
import gettext
import html
import re

from text_cleaning import EMPTY_PAIRS, SPACE_BEFORE, WORD

QUOTED = re.compile(r'^(?:(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?)\s+)?("(?:[^"\\]|\\.)*")\s*$')
VERSIONS = re.compile(r"<(caseinline|case)\b[^>]*>.*?</\1>", re.S)
PRODUCT = re.compile(r"%PRODUCTNAME|\$\[officename\]")
INLINE_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
BREAK = re.compile(r"<br\s*/?>")
WML_STRING = re.compile(r'_\s*"((?:[^"]|"")*)"')
WML_COMMENT = re.compile(r"^\s*#(?!textdomain).*$", re.M)
WML_MARK = re.compile(r"</?(?:i|b|big|small|span|ref|img|header|italic|bold|format|p)\b[^>]*>|[{]\w+[}]")


def po_entries(text):
    """(msgctxt, msgid, msgstr) of a .po file; fuzzy and untranslated ones, plurals and the header are left out."""
    for block in re.split(r"\n\s*\n", text):
        fields, field, fuzzy = {}, None, False
        for line in block.split("\n"):
            fuzzy = fuzzy or line.startswith("#,") and "fuzzy" in line
            match = QUOTED.match(line)
            if match:
                field = match.group(1) or field
                fields[field] = fields.get(field, "") + ast.literal_eval(match.group(2))
        if not fuzzy and fields.get("msgid") and fields.get("msgstr"):
            yield fields.get("msgctxt", ""), fields["msgid"], fields["msgstr"]


def sentence_like(text):
    """Text on one line with its odd spaces mended; "" when much of it is not words, or code and addresses."""
    text = EMPTY_PAIRS.sub(" ", text)
    text = SPACE_BEFORE.sub(r"\1", " ".join(text.split())).strip(" -–—*•|")
    letters = sum(len(word) for word in WORD.findall(text))
    code = any(mark in text for mark in ("://", "_", "<", ">", "{", "}", "\\", "%", "$", "\ufffd"))
    if code or not text.isprintable() or letters < 0.75 * len(text.replace(" ", "")):
        return ""
    return text


def help_sentence(message):
    """A paragraph of LibreOffice's help without markup: of texts that differ by system the default one stays."""
    text = VERSIONS.sub("", message)
    text = INLINE_TAG.sub("", BREAK.sub(" ", text))
    return sentence_like(PRODUCT.sub("LibreOffice", html.unescape(text)).replace("\u200b", "").replace("\u00ad", ""))


def wml_strings(text):
    """(text domain, string) in the order of a scenario file."""
    domain = ""
    for part in re.split(r"^\s*#textdomain\s+", WML_COMMENT.sub("", text), flags=re.M):
        found = re.match(r"[\w-]+", part)
        if part is not text and found and part.startswith("wesnoth"):
            domain = found.group()
        for match in WML_STRING.finditer(part):
            yield domain, match.group(1).replace('""', '"')


def dialogue_sentence(message):
    return sentence_like(WML_MARK.sub("", message.split("^")[-1] if "^" in message[:60] else message))


def read_catalogue(path):
    with open(path, "rb") as file:
        return gettext.GNUTranslations(file)
