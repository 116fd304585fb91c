"""What finished runs leave: one record (a JSON object) each, a study's records in one file of lines, and which run of several is best."""

import fnmatch
import json
import math
import os


def write_whole(path, text):
    """Written aside and renamed: a file that exists is whole."""
    with open(path + ".partial", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".partial", path)


def read_lines(path):
    """JSON lines as a list; a torn last line, as an interruption may leave it, is left out."""
    entries = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                entries.append(json.loads(line))
    return entries


def write_lines(path, records):
    write_whole(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def from_log(path):
    """What a training log says of a run: the course of its evaluations, its end, steps, tokens and seconds of the steps."""
    course, windows, end, budget = {}, [], {}, {}
    steps = tokens = last = 0
    seconds = 0.0
    losses = []
    for entry in read_lines(path):
        if entry["type"] == "step":
            steps, tokens, seconds = entry["step"], tokens + entry["tokens"], seconds + entry["seconds"]
            losses.append(entry["loss"])
        elif entry["type"] == "eval":
            course.setdefault(entry["step"], {})[entry["name"]] = entry["nll"]
            if losses and entry["step"] > last:
                windows.append({"step": entry["step"], "loss": math.fsum(losses) / len(losses)})
                losses, last = [], entry["step"]
        elif entry["type"] == "end":
            end = {key: entry[key] for key in ("penalty", "distance", "fisher_distance")}
        elif entry["type"] == "forget_budget":
            budget = {"forget_budget": {key: entry[key] for key in ("budget", "met", "rise", "lambda")}}
    return {**budget, "steps": steps, "tokens": tokens, "training_loss": windows, "end": end,
            "course": [{"step": step, "losses": values} for step, values in sorted(course.items())]}, seconds


def rises(record, texts):
    """How much each text's loss on the probe rose during a training run, as a share of the loss before."""
    first, last = record["course"][0]["losses"], record["course"][-1]["losses"]
    return [last[text] / first[text] - 1.0 for text in texts]


def best(records, old, new, budget):
    """The best of training runs, judged by the probe (never by the sequences that the tables report): among those in which the loss of no old
    text rose by more than `budget`, the one with the lowest loss on the first new text. If none kept within it: the one with the lowest sum of the
    losses of the first old and the first new text. Failed runs are none."""
    whole = [record for record in records if not record.get("failed") and record.get("course")]
    if not whole:
        return None

    def last(record, text):
        return record["course"][-1]["losses"][text]

    within = [record for record in whole if max(rises(record, old)) <= budget]
    if within:
        return min(within, key=lambda record: last(record, new[0]))
    return min(whole, key=lambda record: last(record, old[0]) + last(record, new[0]))


def matching(records, pattern):
    return [record for record in records if fnmatch.fnmatch(record["run"], pattern)]
