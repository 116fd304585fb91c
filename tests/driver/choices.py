"""ewc-cpt eval --choices: scores of items of text and of token ids, accuracies, refusals with the line."""

import json
import os
import random

from harness import ROOT, TOKENIZER, VOCABULARY, close, cpt, main, make_model, read_npy, refused, write_npy

DEMO = os.path.join(ROOT, "examples/demo/model")  # has a tokenizer.model
TEXT_ITEMS = [
    {"prefix": "Save the selected", "choices": [" message as a file.", " file", " purple seven"], "answer": 0},
    {"prefix": "Could not open the ", "choices": ["folder for writing", "x"], "answer": 1},  # a token may span the seam
    {"prefix": "", "choices": ["The file could not be opened", "ąčęėįš"], "answer": 0},
    {"prefix": "Cannot", "choices": [" open", "s", " be"], "answer": 2},
]


def write_lines(name, items):
    with open(name, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    return name


def id_items(count, seed=1, longest_prefix=40):
    source = random.Random(seed)
    ids = lambda n: [source.randrange(VOCABULARY) for _ in range(n)]
    items = []
    for _ in range(count):
        choices = [ids(source.randint(1, 12)) for _ in range(source.randint(1, 5))]
        items.append({"prefix": ids(source.randint(1, longest_prefix)), "choices": choices, "answer": source.randrange(len(choices))})
    return items


def evaluate(model, file, *more):
    out, _ = cpt("eval", "--model", model, "--choices", f"quiz={file}", "--json", *more)
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(line["name"] == "quiz" for line in lines)
    return lines[:-1], lines[-1]


def likelihood(model, prefix, choice):
    """log p of the choice's ids behind the prefix's, as eval --data gives it."""
    length = len(prefix) + len(choice) - 1
    write_npy("one.npy", prefix + choice)
    cpt("eval", "--model", model, "--data", "one.npy", "--length", length, "--per-token", "one-lp.npy", "--force")
    return sum(read_npy("one-lp.npy")[1][-len(choice):])


def check_accuracies(items, results, summary, unit, size):
    right, right_normalized, answers, tokens = 0, 0, 0.0, 0
    for item, result in zip(items, results):
        scores = result["log_likelihoods"]
        normalized = [score / size(choice) for score, choice in zip(scores, item["choices"])]
        assert result["answer"] == item["answer"]
        assert result["chosen"] == scores.index(max(scores))
        assert result["chosen_normalized"] == normalized.index(max(normalized))
        right += result["chosen"] == item["answer"]
        right_normalized += result["chosen_normalized"] == item["answer"]
        answers += scores[item["answer"]]
    assert summary["items"] == len(items) == len(results)
    assert summary["normalized_by"] == unit
    close(summary["accuracy"], right / len(items), 1e-12)
    close(summary["accuracy_normalized"], right_normalized / len(items), 1e-12)
    return answers


def test_ids_score_as_each_choice_alone():
    make_model("m", initializer_range=0.3)
    items = id_items(12)
    results, summary = evaluate("m", write_lines("c.jsonl", items))
    assert [result["line"] for result in results] == list(range(1, 13))
    for item, result in zip(items, results):
        for choice, score in zip(item["choices"], result["log_likelihoods"]):
            close(score, likelihood("m", item["prefix"], choice), 3e-6)
    answers = check_accuracies(items, results, summary, "tokens", len)
    close(summary["nll"], -answers / sum(len(item["choices"][item["answer"]]) for item in items), 1e-9)
    # The choices differ in length enough for the two accuracies to differ.
    assert any(result["chosen"] != result["chosen_normalized"] for result in results)


def test_many_items_keep_their_order():
    make_model("m", initializer_range=0.3)
    items = id_items(700, seed=2, longest_prefix=20)
    results, summary = evaluate("m", write_lines("all.jsonl", items))
    check_accuracies(items, results, summary, "tokens", len)
    for first in (0, 255, 256, 690):
        again, _ = evaluate("m", write_lines("part.jsonl", items[first:first + 3]))
        for a, b in zip(again, results[first:first + 3]):
            for x, y in zip(a["log_likelihoods"], b["log_likelihoods"]):
                close(x, y, 3e-6)


def test_text_is_tokenized_with_its_prefix():
    results, summary = evaluate(DEMO, write_lines("c.jsonl", TEXT_ITEMS))
    check_accuracies(TEXT_ITEMS, results, summary, "bytes", lambda choice: len(choice.encode()))
    ids = lambda text: (write_lines("t.jsonl", [{"text": text}]),
                        cpt("tokenize", "--tokenizer", TOKENIZER, "--out", "t.npy", "--force", "t.jsonl"), read_npy("t.npy")[1])[2]
    seams = 0
    for item, result in zip(TEXT_ITEMS, results):
        alone, whole = ids(item["prefix"]), [ids(item["prefix"] + choice) for choice in item["choices"]]
        shared = 0
        while shared < len(alone) and all(shared < len(w) and w[shared] == alone[shared] for w in whole):
            shared += 1
        seams += shared < len(alone)
        for w, score in zip(whole, result["log_likelihoods"]):
            close(score, likelihood(DEMO, w[:shared], w[shared:]), 3e-6)
    assert seams > 0, "no token spans a seam: choose other items"


def test_text_and_data_in_one_run():
    write_lines("c.jsonl", TEXT_ITEMS)
    write_npy("t.npy", list(range(3, 100)))
    out, _ = cpt("eval", "--model", DEMO, "--data", "t.npy", "--length", 16, "--choices", "quiz=c.jsonl", "--tokenizer", TOKENIZER)
    lines = out.splitlines()
    assert len(lines) == 2 and "perplexity" in lines[0]
    assert lines[1].startswith("quiz ") and "4 items" in lines[1] and "by bytes" in lines[1]


def test_what_is_wrong_is_named_with_its_line():
    make_model("m")
    command = ["eval", "--model", "m", "--choices"]
    fine = {"prefix": [2, 3], "choices": [[4], [5]], "answer": 0}
    refused_lines = lambda words, *items, code=3: refused(code, ["c.jsonl", *words], *command, write_lines("c.jsonl", items))
    refused_lines(["line 3", "choice 1", "max_position_embeddings", "64"], fine, fine, {**fine, "choices": [[4], [5] * 64]}, fine)
    refused_lines(["line 2", "prefix", str(VOCABULARY - 1)], fine, {**fine, "prefix": [2, VOCABULARY]})
    refused_lines(["line 2", "answer"], fine, {**fine, "answer": 2})
    refused_lines(["line 1", "tokenizer.model", "--tokenizer"], TEXT_ITEMS[0])
    refused_lines(["at least one line"])
    refused(3, ["absent.jsonl"], *command, "absent.jsonl")
    refused(3, ["c.txt", ".jsonl"], *command, write_lines("c.txt", []))
    refused(3, ["line 2", "expected text"], "eval", "--model", DEMO, "--choices", write_lines("c.jsonl", [TEXT_ITEMS[0], fine]))
    refused(2, ["--data or --choices"], "eval", "--model", "m")
    refused(2, ["--length"], "eval", "--model", "m", "--data", "t.npy")
    refused(2, ["--per-token", "--data"], *command, "c.jsonl", "--per-token", "lp.npy")
    make_model("huge", initializer_range=1e38)
    refused(4, ["line 1", "not finite"], "eval", "--model", "huge", "--choices", write_lines("c.jsonl", [fine]))


if __name__ == "__main__":
    main([test_ids_score_as_each_choice_alone, test_many_items_keep_their_order, test_text_is_tokenized_with_its_prefix,
          test_text_and_data_in_one_run, test_what_is_wrong_is_named_with_its_line])
