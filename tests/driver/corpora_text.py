"""Text of examples/get-corpora: cleaning, near-duplicates, the split, the multiple-choice tests. No network."""

import contextlib
import io
import json
import os
import sys
import tarfile
import tempfile
from collections import Counter

from harness import ROOT, main

sys.path[:0] = [os.path.join(ROOT, "examples/text"), os.path.join(ROOT, "examples/get-corpora")]
import choices  # noqa: E402
import get_corpora  # noqa: E402
import parts  # noqa: E402
import readers  # noqa: E402
from messages import dialogue_sentence, help_sentence, po_entries, wml_strings  # noqa: E402
from text_cleaning import hash_unit, shingles, words  # noqa: E402

LETTERS = str.maketrans("0123456789.", "abcdefghijk")


def invented(language, *numbers, count=12):
    """A sentence of words that no other sentence has."""
    return " ".join(f"{language}{hash_unit(f'{language} {numbers} {i}'):.9f}".translate(LETTERS) for i in range(count))


def invented_documents(count, languages, lines=4):
    return [(f"page {d}", [tuple(invented(language, d, line) for language in languages) for line in range(lines)])
            for d in range(count)]


def test_po_entries_are_read():
    text = '''msgid ""
msgstr "Language: xx\\n"

#. note
#: page.xhp
msgctxt ""
"page.xhp\\n"
"par_1\\n"
msgid "Open "
"the \\"door\\"."
msgstr "Atverk \\"duris\\"."

#, fuzzy
msgid "a guess"
msgstr "spėjimas"

msgid "not translated"
msgstr ""

#~ msgid "gone"
#~ msgstr "nebėra"

msgid "one door"
msgid_plural "%d doors"
msgstr[0] "durys"
'''
    assert list(po_entries(text)) == [("page.xhp\npar_1\n", 'Open the "door".', 'Atverk "duris".')]


def test_help_loses_its_markup():
    message = ('<ahelp hid=".uno:X">Press <emph>F5</emph>, or <switchinline select="sys"><caseinline select="MAC">Command'
               "</caseinline><defaultinline>Ctrl</defaultinline></switchinline>+M, in<br/>%PRODUCTNAME &amp; $[officename].</ahelp>")
    assert help_sentence(message) == "Press F5, or Ctrl+M, in LibreOffice & LibreOffice."
    assert help_sentence("=SUM(A1:A5;B2) + 1200 - 17 = 4") == ""
    assert help_sentence("Type sqrt(&lt;?&gt;) in the window of commands") == ""
    assert help_sentence("See https://example.org/ for all of the rest") == ""


def tarball_of_help(path):
    """A tarball as LibreOffice's translations: one page in two languages, and a file that is no help."""
    page = 'msgctxt ""\n"a.xhp\\n"\n"{}\\n"\nmsgid "{}"\nmsgstr "{}"\n'
    with tarfile.open(path, "w:xz") as archive:
        for language in ("xx", "yy"):
            text = "\n".join([page.format("par_1", "Choose this to open one more window here.", invented(language, 1)),
                              page.format("bm_2", invented("en", 2), invented(language, 2)),
                              page.format("par_3", "Too short.", "Per trumpa."),
                              page.format("par_4", invented("en", 4), invented("en", 4))]).encode()
            for place in ("helpcontent2/source/text/guide.po", "sw/messages.po"):
                member = tarfile.TarInfo(f"translations/source/{language}/{place}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))


def test_help_is_read_from_its_tarball():
    with tempfile.TemporaryDirectory() as folder:
        tarball, pages = os.path.join(folder, "x.tar.xz"), os.path.join(folder, "help")
        tarball_of_help(tarball)
        readers.extract_help(tarball, pages, ["xx"])
        assert os.listdir(pages) == ["xx"] and os.listdir(os.path.join(pages, "xx")) == ["text+guide.po"]
        line = ("Choose this to open one more window here.", invented("xx", 1))
        assert list(readers.help_pages(os.path.join(pages, "xx"), Counter(), True)) == [("text/guide/a.xhp", [line])]
        assert list(readers.help_pages(os.path.join(pages, "xx"), Counter(), False)) == [("text/guide/a.xhp", [line[1:]])]
        os.truncate(tarball, os.path.getsize(tarball) // 2)
        readers.extract_help(tarball, pages, ["xx"])
        try:
            readers.extract_help(tarball, pages, ["xx", "yy"])
        except SystemExit as ended:
            assert "x.tar.xz is damaged" in str(ended) and "remove it" in str(ended)
        else:
            raise AssertionError("a damaged tarball was taken")
        assert os.listdir(pages).count("yy") == 0


def test_scenarios_are_read_in_order():
    text = '#textdomain saga\n[event]\nmessage= _ "He said ""come"" twice"\n# message= _ "not this"\n' \
           'story=_"Second\nline"\n#textdomain other\nname= _ "Third"\n'
    assert list(wml_strings(text.replace("saga", "wesnoth-saga").replace("other", "wesnoth-other"))) == [
        ("wesnoth-saga", 'He said "come" twice'), ("wesnoth-saga", "Second\nline"), ("wesnoth-other", "Third")]
    assert dialogue_sentence("female^My <i>dear</i>\nfriend , listen!") == "My dear friend, listen!"


def test_the_split_is_a_function_of_the_names():
    documents = invented_documents(400, ["en"])
    train, heldout = parts.split(documents, 0.2)
    assert {name for name, _ in heldout} == {name for name, _ in documents if hash_unit(name) < 0.2}
    assert len(train) + len(heldout) == 400 and 40 < len(heldout) < 120
    assert (train, heldout) == parts.split(documents[::-1], 0.2)
    fewer = parts.split([(name, [("other text",)]) for name, _ in documents[::3]], 0.2)
    assert {name for name, _ in fewer[1]} == {name for name, _ in heldout} & {name for name, _ in documents[::3]}


def test_repeats_within_a_part_go():
    first, second = invented("en", 1), invented("en", 2)
    nearly = first.rsplit(" ", 1)[0] + " otherwise"
    dropped = Counter()
    documents = [("a", [(first,), (second,)]), ("b", [(first.upper() + "!",), (nearly,)]), ("c", [(invented("en", 3),)])]
    kept = list(parts.without_repeats(documents, dropped))
    assert kept == [documents[0], documents[2]]
    assert dropped == {"said before, word for word": 1, "said before, nearly": 1}
    pairs = [("a", [(invented("en", 4), invented("lt", 4)), (invented("en", 5), invented("lt", 4))])]
    assert list(parts.without_repeats(pairs, dropped)) == [("a", pairs[0][1][:1])]
    assert dropped["said before, word for word"] == 2


def repeated(training, heldout):
    """Whether a held-out line shares a run of eight words, or half of its runs of three, with a training line."""
    runs = set().union(*(shingles(line, 8) for line in training if len(words(line)) >= 8))
    return [line for line in heldout if len(words(line)) >= 8 and shingles(line, 8) & runs
            or any(2 * len(shingles(line) & shingles(other)) >= len(shingles(line)) for other in training)]


def test_parts_share_no_sentences():
    documents = invented_documents(120, ["en", "lt"])
    names = [name for name, _ in documents]
    held = next(i for i, name in enumerate(names) if hash_unit(name) < 0.3)
    kept = next(i for i, name in enumerate(names) if hash_unit(name) >= 0.3)
    source = documents[kept][1]
    eight = " ".join(source[0][1].split()[2:10])
    half = " ".join(source[1][0].split()[:7])
    documents[held][1].extend([
        (invented("en", "x"), eight + " " + invented("lt", "x", count=30)),
        (half + " " + invented("en", "y", count=3), invented("lt", "y")),
        (invented("en", "z"), source[2][1]),
        (invented("en", "new"), invented("lt", "new"))])
    dropped = Counter()
    train, heldout = parts.make(documents, 0.3, [([], []), ([], [])], dropped)
    for language in (0, 1):
        assert repeated(parts.texts(train, language), parts.texts(heldout, language)) == []
    lines = [line for name, lines in heldout if name == names[held] for line in lines]
    assert lines == [*documents[held][1][:4], documents[held][1][-1]]
    assert dropped["held-out line like training text"] == 3
    assert not {name for name, _ in train} & {name for name, _ in heldout}
    assert sum(len(lines) for _, lines in train) == 4 * len(train)


def test_sources_made_before_count_too():
    documents = invented_documents(60, ["en"])
    train, heldout = parts.split(documents, 0.3)
    told_train, told_heldout = heldout[0][1][0][0], train[0][1][0][0]
    dropped = Counter()
    new_train, new_heldout = parts.make(documents, 0.3, [([told_train], [told_heldout])], dropped)
    assert told_train not in parts.texts(new_heldout, 0) and told_heldout not in parts.texts(new_train, 0)
    assert dropped == {"held-out line like training text": 1, "training line like held-out text of another source": 1}


def test_files_are_the_same_every_time_and_can_be_read():
    documents = [("straipsnis", [("Ąžuolas", "Oak"), ("antra „eilutė“", "line two")])]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, place, "x.jsonl.gz") for place in ("one", "two")]
        counts = [parts.write(path, documents, 0) for path in paths]
        contents = [open(path, "rb").read() for path in paths]
        assert contents[0] == contents[1] and contents[0][4:8] == bytes(4), "gzip's time must not be in the file"
        assert counts[0] == counts[1]
        assert counts[0] == {"documents": 1, "lines": 2, "words": 3, "bytes": len("Ąžuolas\nantra „eilutė“\n".encode())}
        assert list(parts.read(paths[0])) == [("straipsnis", ["Ąžuolas", "antra „eilutė“"])]


def test_what_is_finished_is_not_made_again():
    with tempfile.TemporaryDirectory() as folder:
        path, made = os.path.join(folder, "file"), []

        def make(text="whole"):
            made.append(text)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return {"counts": {}, "origin": [], "dropped": {}}

        def finish():
            with contextlib.redirect_stdout(io.StringIO()):
                get_corpora.Corpora(folder, None, None).finish("it", [path], make)

        finish()
        finish()
        assert len(made) == 1
        with open(path, "w", encoding="utf-8") as file:
            file.write("who")
        finish()
        os.unlink(path)
        finish()
        assert len(made) == 3


def test_items_of_data_sets():
    record = {"question": "Where is\nit?", "options": "\nA. in a box\nB. at home. Or so\nC. here", "answer": "B. at home. Or so"}
    assert choices.item(record) == {"prefix": "Question: Where is it?\nAnswer:",
                                    "choices": [" in a box", " at home. Or so", " here"], "answer": 1}
    for options, answer in (("A. one\nB. all of the above", "A. one"), ("A. one\nB. both A and C", "A. one"), ("A. one\nB. One", "A. one"),
                            ("A. one\nC. two", "A. one"), ("A. one\nB. two", "B. one"), ("A. one", "A. one"),
                            ("A. one\nB. " + "w" * 201, "A. one")):
        assert choices.item({"question": "Which?", "options": options, "answer": answer}) is None, options


def test_translation_items():
    english = [("d", [invented("en", i, count=8 + i % 3) for i in range(60)] + ["too short to ask"])]
    lithuanian = [("d", [invented("lt", i, count=8 + i % 3) for i in range(60)] + ["per trumpas kad klaustume"])]
    items = choices.translations([english], [lithuanian], Counter())
    assert items == choices.translations([english], [lithuanian], Counter()) and len(items) == 60
    right = dict(zip(english[0][1], lithuanian[0][1]))
    for one in items:
        asked = one["prefix"].removeprefix("English: ").removesuffix("\nLithuanian:")
        assert len(set(one["choices"])) == 4 and one["choices"][one["answer"]] == " " + right[asked]
        assert max(map(len, one["choices"])) - min(map(len, one["choices"])) <= 2, one
    assert set(Counter(one["answer"] for one in items)) == {0, 1, 2, 3}


def test_only_so_many_items_each_once():
    items = [{"prefix": f"q{i % 900}", "choices": ["a", "b"], "answer": 0} for i in range(1000)]
    found = choices.chosen(iter(items + [None]), Counter())
    assert len(found) == choices.ITEMS and len({one["prefix"] for one in found}) == choices.ITEMS
    assert found == choices.chosen(reversed(items), Counter())
    assert json.loads(json.dumps(found[0])) == found[0]


if __name__ == "__main__":
    main([test_po_entries_are_read, test_help_loses_its_markup, test_help_is_read_from_its_tarball,
          test_scenarios_are_read_in_order, test_the_split_is_a_function_of_the_names, test_repeats_within_a_part_go,
          test_parts_share_no_sentences, test_sources_made_before_count_too,
          test_files_are_the_same_every_time_and_can_be_read, test_what_is_finished_is_not_made_again,
          test_items_of_data_sets, test_translation_items, test_only_so_many_items_each_once])
