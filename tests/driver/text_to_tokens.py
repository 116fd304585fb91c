"""ewc-cpt tokenize: kinds of text files, BOS before each document, the .npy file, refusals."""

import gzip
import json
import os
import shutil
import subprocess

from harness import TOKENIZER, Skip, cpt, main, read_npy, refused

BOS = 2
TEXTS = ["Save the selected message as a file.", "Įrašykite pažymėtą laišką kaip failą — dabar.\nAntra eilutė."]


def write(name, text):
    with (gzip.open(name, "wt", encoding="utf-8") if name.endswith(".gz") else open(name, "w", encoding="utf-8")) as file:
        file.write(text)
    return name


def tokenize(*files):
    cpt("tokenize", "--tokenizer", TOKENIZER, "--out", "t.npy", "--force", *files)
    descr, ids = read_npy("t.npy")
    assert descr == "<u2", descr
    return ids


def json_lines(texts):
    return "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))


def test_txt_is_one_document_after_bos():
    ids = tokenize(write("a.txt", TEXTS[1]))
    assert ids[0] == BOS and BOS not in ids[1:] and len(ids) > 10


def test_jsonl_has_a_document_a_line():
    ids = tokenize(write("a.jsonl", json_lines(TEXTS)))
    assert ids == tokenize(write("a.txt", TEXTS[0]), write("b.txt", TEXTS[1]))
    assert ids.count(BOS) == 2


def test_gz_gives_the_same_ids():
    assert tokenize(write("a.txt.gz", TEXTS[0])) == tokenize(write("a.txt", TEXTS[0]))
    assert tokenize(write("a.jsonl.gz", json_lines(TEXTS))) == tokenize(write("a.jsonl", json_lines(TEXTS)))


def test_several_files_in_the_order_given():
    first, second = write("1.txt", TEXTS[0]), write("2.txt", TEXTS[1])
    assert tokenize(second, first) == tokenize(second) + tokenize(first)


def test_ids_are_those_of_sentencepiece():
    encode = shutil.which("spm_encode")
    if not encode:
        raise Skip("spm_encode is not installed")
    text = TEXTS[1].replace("\n", " ")
    done = subprocess.run([encode, "--model=" + TOKENIZER, "--output_format=id"], input=text + "\n", capture_output=True, text=True,
                          check=True)
    assert tokenize(write("a.txt", text))[1:] == [int(word) for word in done.stdout.split()]


def test_existing_output_is_kept():
    write("a.txt", TEXTS[0])
    write("t.npy", "mine")
    refused(3, ["t.npy", "--force"], "tokenize", "--tokenizer", TOKENIZER, "--out", "t.npy", "a.txt")
    with open("t.npy", encoding="utf-8") as file:
        assert file.read() == "mine"


def test_what_is_wrong_is_named():
    write("a.txt", TEXTS[0])
    write("other.pdf", "x")
    write("broken.jsonl", '{"text": "fine"}\n{"txt": "no text"}\n')
    with open("latin.txt", "wb") as file:
        file.write(b"caf\xe9 and more")
    command = ["tokenize", "--tokenizer", TOKENIZER, "--out", "t.npy"]
    refused(3, ["missing.txt"], *command, "missing.txt")
    refused(3, ["broken.jsonl", "text"], *command, "broken.jsonl")
    refused(3, ["latin.txt", "UTF-8"], *command, "latin.txt")
    refused(3, ["a.txt"], "tokenize", "--tokenizer", "a.txt", "--out", "t.npy", "a.txt")
    refused(3, ["nowhere.model"], "tokenize", "--tokenizer", "nowhere.model", "--out", "t.npy", "a.txt")
    refused(2, ["TEXT"], *command)
    assert cpt(*command, "other.pdf", code=3)[1].find("other.pdf") >= 0
    assert not os.path.exists("t.npy")



if __name__ == "__main__":
    main([test_txt_is_one_document_after_bos, test_jsonl_has_a_document_a_line, test_gz_gives_the_same_ids,
          test_several_files_in_the_order_given, test_ids_are_those_of_sentencepiece, test_existing_output_is_kept,
          test_what_is_wrong_is_named])
