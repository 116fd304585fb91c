"""The study's runner (examples/paper): its table, runs that are made once, interruption and resuming. A tiny study of a random model, no network."""

import array
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from xml.etree import ElementTree

from harness import CPT, ROOT, TOKENIZER, close, cpt, main, make_model, read_bytes, write_npy

sys.path.insert(0, os.path.join(ROOT, "examples/paper"))
import fisher_files  # noqa: E402
import results  # noqa: E402
import tokens as token_files  # noqa: E402
from table import Table, TableError  # noqa: E402

RUNNER = os.path.join(ROOT, "examples/paper/run.sh")
TABLE = """
title = "Tiny"
length = 8
probe_sequences = 2
final_sequences = 3
choice_items = 2
budget = 0.01
tokens_per_second = 1000

[sources]
model = { directory = "@/m" }
text = { directory = "@/text" }

[texts]
old-train = "text/old.txt"
new-train = "text/new.txt"

[[heldout]]
name = "old"
role = "old"
file = "text/old.txt"
[[heldout]]
name = "new"
role = "new"
file = "text/new.txt"

[choices]
easy = "text/choices.jsonl"

[options]
fisher = "--data tokens/old-train.npy --length 8 --sequences 4 --batch 2"
train = "--data tokens/new-train.npy --length 8 --batch 2 --steps STEPS --lr {rate} --clip 1 --order shuffle --seed {seed} --eval-every 4"
all = ""

[defaults]
rate = 1e-2
seed = 1
ewc = "--fisher runs/fisher/fisher.safetensors --relative --lambda {lambda}"

[[run]]
name = "base"
kind = "base"
[[run]]
name = "fisher"
kind = "fisher"
[[run]]
name = "other-fisher"
kind = "fisher"
options = "--estimator sampled"
[[run]]
name = "fishers"
kind = "compare"
options = "runs/fisher/fisher.safetensors runs/other-fisher/fisher.safetensors"
[[run]]
name = "ewc-{lambda}"
method = "EWC"
options = "{ewc}"
lambda = [0, 10]
[[run]]
name = "again-{seed}"
method = "EWC"
options = "{ewc}"
seed = [2, 3]
lambda = "best of ewc-*"
[[run]]
name = "budget"
method = "EWC, forget budget"
options = "--fisher runs/fisher/fisher.safetensors --forget-budget {budget}% --forget-probe tokens/old-probe.npy --forget-sequences 2"
budget = 3
"""
WORDS = "keep what was known and learn what is new while every weight that matters stays where old text needs it".split()


def prepare(steps=8):
    os.mkdir("text")
    for name, shift in (("old", 1), ("new", 5)):
        with open(f"text/{name}.txt", "w", encoding="utf-8") as file:
            file.write(" ".join(WORDS[(shift * i + i // 7) % len(WORDS)] for i in range(120)))
    with open("text/choices.jsonl", "w", encoding="utf-8") as file:
        for _ in range(3):
            file.write(json.dumps({"prefix": "old text", "choices": [" needs it", " is new"], "answer": 0}) + "\n")
    make_model("m", vocab_size=4096)
    shutil.copy(TOKENIZER, "m/tokenizer.model")
    with open("tiny.toml", "w", encoding="utf-8") as file:
        file.write(TABLE.replace("@", os.getcwd()).replace("STEPS", str(steps)))


def study(directory, *more, code=0):
    done = subprocess.run([RUNNER, "tiny.toml", directory, "--threads", "1", *more], env=dict(os.environ, EWC_BUILD=os.path.dirname(CPT)),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout}{done.stderr}"
    return done.stdout


def records_of(directory):
    """The results without what depends on the clock."""
    records = results.read_lines(os.path.join(directory, "results.jsonl"))
    for record in records:
        record.pop("timing")
    return records


def test_a_study_is_made_once_and_repeats_itself():
    prepare()
    listed = study("a", "--list")
    assert "0 of 9 runs done" in listed and "ewc-10" in listed and "again-3" in listed
    study("a", "--only", "ewc-10")
    assert [record["run"] for record in records_of("a")] == ["fisher", "ewc-10"]
    kept = read_bytes("a/runs/ewc-10/result.json")
    study("a")
    assert read_bytes("a/runs/ewc-10/result.json") == kept
    records = {record["run"]: record for record in records_of("a")}
    assert list(records) == ["base", "fisher", "other-fisher", "fishers", "ewc-0", "ewc-10", "again-2", "again-3", "budget"]
    assert not [name for name in os.listdir("a/runs") if os.path.exists(f"a/runs/{name}/model")]
    assert "9 of 9 runs done" in study("a", "--list")
    before = os.stat("a/runs/again-2/result.json").st_mtime_ns
    study("a")
    assert os.stat("a/runs/again-2/result.json").st_mtime_ns == before
    study("b")
    assert records_of("a") == records_of("b")

    train = records["ewc-0"]
    assert [point["step"] for point in train["course"]] == [0, 4, 8] and train["tokens"] == 8 * 2 * 8
    assert set(train["final"]) == {"old", "new"} and train["final"]["old"]["tokens"] == 3 * 8
    assert train["choices"]["easy"]["items"] == 2
    assert train["course"][-1]["losses"]["new"] < train["course"][0]["losses"]["new"]
    chosen = results.best([records["ewc-0"], records["ewc-10"]], ["old"], ["new"], 0.01)
    assert records["again-2"]["values"]["lambda"] == chosen["values"]["lambda"]
    assert f"--lambda {chosen['values']['lambda']} " in records["again-2"]["commands"][0]
    budget = records["budget"]["forget_budget"]
    close(budget["rise"], results.rises(records["budget"], ["old"])[0], 1e-6)
    assert budget["budget"] == 0.03 and budget["met"] == (budget["rise"] <= 0.03)
    pair = records["fishers"]["comparison"]["pairs"][0]
    assert pair["pair"] == ["fisher", "other-fisher"] and 0 < pair["spearman"] < 1
    close(sum(records["fishers"]["comparison"]["shares"]["fisher"].values()), 1, 1e-9)


def test_what_the_record_says_is_what_its_commands_do():
    prepare()
    study("a", "--only", "ewc-0", "--keep-weights")
    record = next(record for record in records_of("a") if record["run"] == "ewc-0")
    os.chdir("a")
    command = record["commands"][1].split()
    assert command[:4] == ["ewc-cpt", "eval", "--model", "runs/ewc-0/model"], command
    again = [json.loads(line) for line in cpt(*command[1:])[0].splitlines()]
    assert {entry["name"]: entry["nll"] for entry in again} == {name: values["nll"] for name, values in record["final"].items()}
    command = record["commands"][0].replace("runs/ewc-0/", "again-").split()
    cpt(*command[1:], "--quiet")
    assert read_bytes("again-model/model.safetensors") == read_bytes("runs/ewc-0/model/model.safetensors")


def test_interrupted_and_gone_on_with_gives_the_same():
    prepare(steps=600)
    only = ["--only", "ewc-10"]
    study("whole", *only)
    command = [RUNNER, "tiny.toml", "cut", "--threads", "1", *only]
    log = "cut/runs/ewc-10/log.jsonl"

    def log_size():
        return os.path.getsize(log) if os.path.exists(log) else 0

    for point, begun in (("in the Fisher", lambda: os.path.exists("cut/runs/fisher")), ("in the first steps", lambda: log_size() > 0),
                         ("in later ones", lambda: log_size() > size)):
        size = log_size()
        with subprocess.Popen(command, env=dict(os.environ, EWC_BUILD=os.path.dirname(CPT)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            while not begun():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            error = process.stderr.read()
        assert process.returncode == 130 and "The same command goes on" in error, (point, process.returncode, error)
    study("cut", *only)
    assert records_of("cut") == records_of("whole")


def report(*arguments, code=0):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "examples/paper/report.py"), "--table", "tiny.toml", *arguments, "pages"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout}{done.stderr}"
    return done.stdout


def numbers(text):
    return [float(value) for value in re.findall(r"[-+]?\d+\.\d+", text)]


def test_the_report_is_made_from_the_results_alone():
    prepare()
    study("tiny")
    os.mkdir("pages")
    names = ("about", "texts", "fishers", "relative", "methods", "best", "budgets", "choices", "checks", "spreads")
    with open("pages/README.md", "w", encoding="utf-8") as file:
        file.write("Words.\n" + "".join(f"<!-- report: tiny {name} -->\nold\n<!-- end -->\n" for name in names) +
                   "<!-- report: none about -->\n<!-- end -->\nMore words.\n")
    report("--take", "tiny")
    shutil.rmtree("tiny")
    report("--check")
    with open("pages/README.md", encoding="utf-8") as file:
        page = file.read()
    assert page.startswith("Words.\n<!-- report: tiny about -->\n|") and page.endswith("More words.\n") and "\nold\n" not in page
    assert "<!-- report: none about -->\n(not run yet)\n<!-- end -->" in page
    records = {record["run"]: record for record in results.read_lines("pages/tiny/results.jsonl")}
    best = [record for record in records.values() if record["run"] in ("again-2", "again-3")]
    row = next(line for line in page.splitlines() if line.startswith(("| EWC λ", "| **EWC λ")) and line.endswith("| 3 |"))
    same = [record for record in records.values() if record["kind"] == "train" and record["values"].get("lambda") == best[0]["values"]["lambda"]]
    mean = sum(record["final"]["old"]["perplexity"] for record in same) / 3
    close(numbers(row.split("|", 2)[2])[0], mean, 1e-2 / mean)
    dots = ElementTree.parse("pages/tiny/tradeoff.svg").iter("{http://www.w3.org/2000/svg}circle")
    points = {(float(dot.get("cx")), float(dot.get("cy"))) for dot in dots}
    assert len(points) == 3, points  # three settings, at different places
    for name in ("tradeoff", "course"):
        picture = ElementTree.parse(f"pages/tiny/{name}.svg").getroot()
        drawn = [float(value) for line in picture.iter("{http://www.w3.org/2000/svg}polyline") for value in re.split("[ ,]", line.get("points"))]
        assert drawn and all(0 <= value <= float(picture.get("width")) for value in drawn)
    with open("pages/README.md", "a", encoding="utf-8") as file:
        file.write("And a last word.\n")
    report("--check")
    with open("pages/README.md", "w", encoding="utf-8") as file:
        file.write(page.replace("| base |", "| basis |").replace("before training", "before", 1))
    assert "README.md" in report("--check", code=1)


def test_the_committed_pages_are_what_the_report_makes():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "examples/paper/report.py"), "--check"], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_committed_results_count_only_when_asked_and_when_of_the_same_command():
    prepare()
    study("a", "--only", "base", "--only", "again-2")
    assert "0 of 9" in study("b", "--list")
    assert "5 of 9" in study("c", "--list", "--keep-committed", "a/results.jsonl")
    records = results.read_lines("a/results.jsonl")
    records[0]["commands"][0] = records[0]["commands"][0].replace("--length 8", "--length 16")
    results.write_lines("other.jsonl", records)
    assert "4 of 9" in study("d", "--list", "--keep-committed", "other.jsonl")
    # A Fisher that is known but not on the disk is made when a run needs it.
    out = study("c", "--only", "again-3")
    assert "fisher: its file is made again" in out
    study("a", "--only", "again-3")
    assert records_of("c")[-1] == records_of("a")[-1]


def test_a_second_runner_is_refused_and_a_failed_run_stops_only_what_needs_it():
    prepare()
    with open("tiny.toml", encoding="utf-8") as file:
        table = file.read()
    with open("tiny.toml", "w", encoding="utf-8") as file:
        file.write(table.replace("--sequences 4 --batch 2", "--sequences 0"))
    os.mkdir("a")
    with open("a/lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        study("a", code=1)
    assert not os.path.exists("a/runs")
    out = study("a", code=1)
    assert "ewc-0: left out" in out and [record["run"] for record in records_of("a")] == ["base"]


def test_tables_that_cannot_be_run_are_refused():
    prepare()
    with open("tiny.toml", encoding="utf-8") as file:
        table = file.read()
    for old, new, word in (('name = "ewc-{lambda}"', 'name = "ewc"', "two runs are called ewc"), ("best of ewc-*", "best of nothing-*", "above it"),
                           ("runs/fisher/", "runs/later/", "later"), ('kind = "compare"', 'kind = "guess"', "guess")):
        with open("wrong.toml", "w", encoding="utf-8") as file:
            file.write(table.replace(old, new))
        try:
            Table("wrong.toml")
        except TableError as error:
            assert word in str(error), error
        else:
            raise AssertionError(f"{new} was accepted")


def test_the_best_keeps_within_the_budget_or_has_the_smallest_sum():
    def record(name, old, new):
        return {"run": name, "course": [{"losses": {"o": 4.0, "n": 5.0}}, {"losses": {"o": old, "n": new}}]}

    far, near, nothing = record("far", 4.5, 2.0), record("near", 4.03, 3.0), record("nothing", 4.0, 4.9)
    failed = {"run": "failed", "failed": "NaN", "course": []}
    assert results.best([far, near, nothing, failed], ["o"], ["n"], 0.01) is near
    assert results.best([far, record("some", 4.2, 3.0)], ["o"], ["n"], 0.01) is far
    assert results.best([failed], ["o"], ["n"], 0.01) is None


def test_cut_token_files_do_not_overlap():
    ids = list(range(3, 60))
    write_npy("t.npy", ids)
    assert token_files.cut("t.npy", "a.npy", 8, 0, 2) == 2 and token_files.cut("t.npy", "b.npy", 8, 2, 100) == 5
    assert token_files.count("a.npy") == 17 and token_files.count("b.npy") == 41
    assert read_bytes("b.npy")[-82:] == read_bytes("t.npy")[-114 + 32:]
    assert json.loads(cpt("eval", "--model", make_model("m"), "--data", "b.npy", "--length", 8, "--json")[0])["tokens"] == 40


def test_correlations_are_those_of_the_definition():
    a, b = [1.0, 2.0, 4.0, 3.0], [10.0, 30.0, 20.0, 25.0]
    close(fisher_files.pearson(a, b), 12.5 / (5.0 * 218.75)**0.5, 1e-12)  # deviations -1.5 -0.5 1.5 0.5 and -11.25 8.75 -1.25 3.75
    close(fisher_files.pearson(a, [3 * x + 1 for x in a]), 1, 1e-12)
    assert fisher_files.ranks([5.0, 1.0, 3.0]) == [2, 0, 1]
    b = [4.0, 1.0, 16.0, 9.0, 25.0, 49.0]
    for name, values in (("a", [value**0.5 for value in b]), ("b", b)):
        header = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                  "model.norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}}
        text = json.dumps(header).encode()
        with open(name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + array.array("f", values).tobytes())
    compared = fisher_files.compare({"a": "a", "b": "b"})
    pair = compared["pairs"][0]
    close(pair["pearson_of_logarithms"], 1, 1e-6)
    close(pair["spearman"], 1, 1e-12)
    assert pair["pearson"] < 0.99 and compared["elements_compared"] == 6 and pair["common_in_top_percent"] == 1
    close(compared["shares"]["b"]["embedding"], 30 / 104, 1e-6)
    close(compared["shares"]["b"]["norms"], 74 / 104, 1e-6)


if __name__ == "__main__":
    main([test_a_study_is_made_once_and_repeats_itself, test_what_the_record_says_is_what_its_commands_do,
          test_interrupted_and_gone_on_with_gives_the_same, test_committed_results_count_only_when_asked_and_when_of_the_same_command,
          test_a_second_runner_is_refused_and_a_failed_run_stops_only_what_needs_it, test_tables_that_cannot_be_run_are_refused,
          test_the_best_keeps_within_the_budget_or_has_the_smallest_sum, test_cut_token_files_do_not_overlap,
          test_correlations_are_those_of_the_definition, test_the_report_is_made_from_the_results_alone,
          test_the_committed_pages_are_what_the_report_makes])
