"""The demonstration's text: cleaning of messages, near duplicates, the split. No network."""

import os
import sys

from harness import ROOT, main

sys.path.insert(0, os.path.join(ROOT, "examples/demo"))
import corpora  # noqa: E402 (it finds examples/text)
from text_cleaning import NearDuplicates, plain  # noqa: E402


def test_markup_accelerators_and_placeholders_go():
    assert plain("_Save the <b>selected</b> message as a file…") == "Save the selected message as a file…"
    assert plain("Open &With the other program") == "Open With the other program"
    assert plain("Could not open the folder “%s” for writing.") == "Could not open the folder for writing."
    assert plain("The %(name)s family\n lives in {place}, she said") == "The family lives in, she said"
    assert plain("Salt &amp; pepper are on the table") == "Salt & pepper are on the table"


def test_what_is_mostly_placeholders_goes():
    assert plain("%s: %d of %d, %s") == ""
    assert plain("see https://example.org/ for the rest of it") == ""
    assert plain("1 2 3 4 5 6 7 8 9 a") == ""


def test_untranslated_and_short_messages_are_not_taken():
    assert corpora.acceptable("Could not open the folder", "Nepavyko atverti šio aplanko dabar")
    assert not corpora.acceptable("Could not open the folder", "Could not open the folder")
    assert not corpora.acceptable("Open the folder now", "Dabar atverti šį aplanką čia")
    assert not corpora.acceptable("Could not open the folder", "Nepavyko atverti")


def test_near_duplicates_are_found():
    index = NearDuplicates(["Could not open the address book on the server", "The meeting was cancelled by the organizer"])
    assert index.matches("Could not open the address book on this server.") == [0]
    assert index.matches("Entirely different words that share nothing at all") == []


def test_parts_do_not_overlap_in_either_language():
    pairs = [("p", f"message {chr(97 + i % 26)} number {chr(97 + i // 26 % 26)} says that all is {chr(97 + i * 7 % 26)} well today",
              f"žinutė {chr(97 + i % 26)} numeris {chr(97 + i // 26 % 26)} sako kad viskas {chr(97 + i * 7 % 26)} gerai šiandien")
             for i in range(600)]
    # Sentences of words of their own: hashed words instead of the pattern above.
    pairs += [("q", " ".join(f"w{corpora.hash_unit(f'{i} {j}'):.9f}".translate(str.maketrans("0123456789.", "abcdefghijk")) for j in range(8)),
               " ".join(f"l{corpora.hash_unit(f'{j} {i}'):.9f}".translate(str.maketrans("0123456789.", "klmnopqrstu")) for j in range(8)))
              for i in range(600)]
    train, heldout = corpora.split(pairs)
    assert 40 < len(heldout) < 200 and len(train) > 800
    for language in (1, 2):
        index = NearDuplicates(pair[language] for pair in heldout)
        assert not any(index.matches(pair[language]) for pair in train)
    texts = corpora.documents(train)
    assert sum(english.count("\n") + 1 for english, _ in texts) == len(train)
    assert all(english.count("\n") == lithuanian.count("\n") for english, lithuanian in texts)


if __name__ == "__main__":
    main([test_markup_accelerators_and_placeholders_go, test_what_is_mostly_placeholders_goes,
          test_untranslated_and_short_messages_are_not_taken, test_near_duplicates_are_found,
          test_parts_do_not_overlap_in_either_language])
