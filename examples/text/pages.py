"""Paragraphs of HTML, Mallard and Markdown files, plain or gzipped."""

import gzip
import html
import re

from text_cleaning import words

FEWEST_WORDS = 8

BLOCK = re.compile(r"</?(?:p|div|li|td|th|tr|h[1-6]|dt|dd|title|desc|item|pre|table|section|ul|ol|dl|br)\b[^>]*>", re.I)
HIDDEN = re.compile(r"<(script|style|head|info|code|screen)\b.*?</\1>|<!--.*?-->|<\?.*?\?>|<pre\b.*?</pre>", re.I | re.S)
MARKDOWN_MARK = re.compile(r"[*_`#>|]+|\[\d+\]|!?\[([^\]]*)\]\([^)]*\)")


def read_text(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        return file.read()


def page_paragraphs(path):
    """Paragraphs of an HTML or Mallard page."""
    for block in BLOCK.split(HIDDEN.sub(" ", read_text(path))):
        text = " ".join(html.unescape(re.sub(r"<[^<>]*>", "", block)).split())
        if len(words(text)) >= FEWEST_WORDS:
            yield text


def markdown_paragraphs(path):
    yield from plain_markdown(read_text(path))


def plain_markdown(source):
    """Paragraphs of Markdown without its marks."""
    for block in re.split(r"\n\s*\n", source):
        text = " ".join(MARKDOWN_MARK.sub(lambda match: match.group(1) or "", block).split())
        if len(words(text)) >= FEWEST_WORDS:
            yield text
