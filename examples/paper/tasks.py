"""What is done for a run of each kind. Every command runs inside the study's directory, so that a recorded command names files by short relative
paths: model, corpora/..., tokens/NAME.npy, runs/NAME/... ."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import fisher_files
import results
import tokens
from table import fill

EXIT_NUMERIC, EXIT_INTERRUPTED = 4, 5


class Stopped(Exception):
    """Ctrl-C or SIGTERM: everything is left so that the next start goes on."""


class Failed(Exception):
    """A command did not succeed; the message says which and why."""


class Commands:
    """Runs ewc-cpt, one at a time, in a session of its own: a Ctrl-C reaches it once, through us."""

    def __init__(self, cpt, directory, threads):
        self.cpt, self.directory, self.threads = cpt, directory, threads
        self.process, self.stopping = None, False
        for number_of_signal in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number_of_signal, self._stop)

    def _stop(self, *_):
        if self.process is None:
            raise Stopped
        if not self.stopping:
            self.stopping = True
            self.process.send_signal(signal.SIGINT)

    def run(self, arguments, output, stdout=None, watch=None):
        """Output goes to the file `output`, or stdout to a file of its own. Raises Stopped or Failed (with .code)."""
        command = [self.cpt, *arguments] + (["--threads", str(self.threads)] if self.threads and arguments[0] != "tokenize" else [])
        with open(output, "ab") as log, open(stdout or output, "wb" if stdout else "ab") as out:
            log.write(("$ ewc-cpt " + shlex.join(arguments) + "\n").encode())
            log.flush()
            begin = log.tell()
            self.process = subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                            start_new_session=True)
            while True:
                try:
                    code = self.process.wait(timeout=5)
                    break
                except subprocess.TimeoutExpired:
                    if watch:
                        watch()
        self.process = None
        if self.stopping or code == EXIT_INTERRUPTED:
            raise Stopped
        if code != 0:
            with open(output, "rb") as log:
                log.seek(begin)
                said = log.read().decode(errors="replace").strip().splitlines()
            failure = Failed(f"ewc-cpt {arguments[0]} ended with {code}: " + " ".join(said[-3:]))
            failure.code = code
            raise failure


class Tasks:
    """Makes the texts and the runs of one study in its directory."""

    def __init__(self, study, cpt, directory, root, about, settings):
        self.study, self.directory, self.root, self.about, self.settings = study, directory, root, about, settings
        self.commands = Commands(cpt, directory, settings["threads"])

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    # Texts

    def prepare(self):
        """Links the sources, tokenizes the texts, cuts the held-out parts. What is there is kept."""
        for name, source in self.study.sources.items():
            place = os.path.join(self.root, source["directory"])
            if not os.path.isdir(place) or not os.listdir(place):
                self._fetch(name, source, place)
            if not os.path.islink(self.path(name)):
                os.symlink(os.path.relpath(place, self.directory), self.path(name))
        for folder in ("tokens", "choices", "runs"):
            os.makedirs(self.path(folder), exist_ok=True)
        for name, text in self.study.texts.items():
            self._tokenize(name, text)
        for text in self.study.heldout:
            self._tokenize(text["name"] + "-heldout", text["file"])
            for part, first, sequences in (("probe", 0, self.study.probe), ("final", self.study.probe, self.study.final)):
                out = self.path("tokens", f"{text['name']}-{part}.npy")
                if not os.path.exists(out):
                    tokens.cut(self.path("tokens", text["name"] + "-heldout.npy"), out, self.study.length, first, sequences)
        for name, file in self.study.choices.items():
            out = self.path("choices", name + ".jsonl")
            if not os.path.exists(out):
                with open(self.path(file), encoding="utf-8") as lines:
                    results.write_whole(out, "".join(line for _, line in zip(range(self.study.choice_items), lines)))

    def _fetch(self, name, source, place):
        if "command" not in source:
            raise Failed(f"{name}: {source['directory']} is missing")
        print(f"{name}: {source['directory']} is missing; running {source['command']}", flush=True)
        done = subprocess.run(source["command"].split(), cwd=self.root, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0 or not os.path.isdir(place):
            raise Failed(f"{source['command']} did not make {source['directory']}: its message is above")

    def _tokenize(self, name, file):
        out = f"tokens/{name}.npy"
        if not os.path.exists(self.path(out)):
            self.commands.run(["tokenize", "--tokenizer", "model/tokenizer.model", "--out", out, file], self.path("tokens", "output.txt"))

    # Runs

    def record_path(self, run):
        return self.path("runs", run.name, "result.json")

    def record(self, run):
        try:
            with open(self.record_path(run), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def records(self):
        return [record for record in map(self.record, self.study.runs) if record]

    def values(self, run):
        """The run's values with those that finished runs decide; None while one of these has not finished."""
        values = dict(run.values, products=self._products(run), tokens=" ".join(
            f"tokens/{name}.npy" for name in [*self.study.texts, *(text["name"] + "-heldout" for text in self.study.heldout)]))
        for key, pattern in run.best_of().items():
            names = [other.name for other in self.study.runs if other.name in run.needs]
            found = [self.record(self.study.find(name)) for name in names]
            if None in found:
                return None
            chosen = results.best(results.matching(found, pattern), self.study.old(), self.study.new(), self.study.budget)
            if chosen is None:
                raise Failed(f"{run.name}: every run of {pattern} failed, so there is no best {key}")
            values[key] = chosen["values"][key]
        return values

    def _products(self, run):
        wanted = run.values.get("products", "f32")
        return self.settings["products"] if wanted == "auto" else wanted

    def arguments(self, run):
        """The main command of a run, without what only the runner adds; None while it is not known."""
        values = self.values(run)
        if values is None:
            return None
        folder = f"runs/{run.name}"
        all_options = self.study.options
        if run.kind == "fisher":
            line = f"fisher --model model {all_options['fisher']} {run.options} {all_options['all']} --out {folder}/fisher.safetensors"
        elif run.kind == "train":
            line = f"train --model model {all_options['train']} {run.options} {all_options['all']}"
            line += "".join(f" --eval {text['name']}=tokens/{text['name']}-probe.npy" for text in self.study.heldout)
            line += f" --save-dtype f32 --log {folder}/log.jsonl --out {folder}/model"
        elif run.kind == "base":
            return self.evaluation(run, values, "model")
        else:
            line = "compare " + run.options
        return shlex.split(fill(line, values))

    def evaluation(self, run, values, model):
        data = " ".join(f"{text['name']}=tokens/{text['name']}-final.npy" for text in self.study.heldout)
        line = f"eval --model {model} --data {data} --length {self.study.length} {run.options if run.kind == 'base' else ''} " \
               f"{self.study.options['all']} --json"
        return shlex.split(fill(line, values))

    def finished(self, run):
        return os.path.exists(self.record_path(run))

    def make(self, run):
        """Makes one run, or goes on with it, and writes its record."""
        folder = self.path("runs", run.name)
        os.makedirs(folder, exist_ok=True)
        begun = time.monotonic()
        record = {"run": run.name, "kind": run.kind, "method": run.method, "values": self.values(run)}
        del record["values"]["tokens"]
        arguments = self.arguments(run)
        record["commands"] = ["ewc-cpt " + shlex.join(arguments)] if run.kind != "compare" else []
        timing = {}
        try:
            getattr(self, "_make_" + run.kind)(run, folder, arguments, record, timing)
        except Failed as failure:
            if getattr(failure, "code", None) != EXIT_NUMERIC:
                raise
            record["failed"] = str(failure)
        finally:
            spent = self._add_seconds(folder, time.monotonic() - begun)
        record["timing"] = dict(timing, whole_seconds=round(spent, 1))
        record["made_with"] = self.about
        results.write_whole(self.record_path(run), json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        if not self.settings["keep_weights"]:
            shutil.rmtree(os.path.join(folder, "model"), ignore_errors=True)
        return record

    @staticmethod
    def _add_seconds(folder, seconds):
        """Seconds that all attempts at this run took so far."""
        path = os.path.join(folder, "seconds.txt")
        try:
            with open(path, encoding="utf-8") as file:
                seconds += float(file.read())
        except FileNotFoundError:
            pass
        results.write_whole(path, f"{seconds}\n")
        return seconds

    def _evaluate(self, run, folder, model, record, timing):
        """Losses and perplexities of the final parts, and the choices, of the directory `model`. The choices' tokens need not be in a cut vocabulary:
        they are scored with the whole one."""
        begun = time.monotonic()
        out, log = os.path.join(folder, "eval.jsonl"), os.path.join(folder, "output.txt")
        evaluation = self.evaluation(run, self.values(run), model)
        if record["commands"][-1] != "ewc-cpt " + shlex.join(evaluation):
            record["commands"].append("ewc-cpt " + shlex.join(evaluation))
        self.commands.run(evaluation, log, stdout=out)
        record["final"] = {entry.pop("name"): entry for entry in results.read_lines(out)}
        if self.study.choices:
            products = ["--products", self._products(run)]
            files = [f"{name}=choices/{name}.jsonl" for name in self.study.choices]
            choices = ["eval", "--model", model, "--choices", *files, "--json", *products]
            record["commands"].append("ewc-cpt " + shlex.join(choices))
            self.commands.run(choices, log, stdout=out)
            record["choices"] = {entry.pop("name"): entry for entry in results.read_lines(out) if "items" in entry}
        timing["evaluation_seconds"] = round(time.monotonic() - begun, 1)

    def _make_base(self, run, folder, _arguments, record, timing):
        self._evaluate(run, folder, "model", record, timing)

    def _make_fisher(self, run, folder, arguments, record, timing):
        begun = time.monotonic()
        out = os.path.join(folder, "fisher.txt")
        self.commands.run([*arguments, "--force", "--quiet"], os.path.join(folder, "output.txt"), stdout=out)
        with open(out, encoding="utf-8") as file:
            record["statistics"] = read_statistics(file.read())
        seconds = time.monotonic() - begun
        timing.update(seconds=round(seconds, 1), tokens_per_second=round(record["statistics"]["tokens"] / seconds, 1))

    def _make_compare(self, run, _folder, arguments, record, _timing):
        record["comparison"] = fisher_files.compare({path.split("/")[1]: self.path(path) for path in arguments[1:]})

    def _make_train(self, run, folder, arguments, record, timing):
        log = os.path.join(folder, "log.jsonl")
        trained = os.path.join(folder, "model", "model.safetensors")
        if not os.path.exists(trained):
            self.commands.run([*arguments, "--resume"], os.path.join(folder, "output.txt"), watch=lambda: self._show(run, log))
            shutil.rmtree(os.path.join(folder, "model", "training-state"), ignore_errors=True)
        course, seconds = results.from_log(log)
        record.update(course)
        timing.update(seconds=round(seconds, 1), tokens_per_second=round(course["tokens"] / seconds, 1))
        self._evaluate(run, folder, f"runs/{run.name}/model", record, timing)

    @staticmethod
    def _show(run, log):
        if not sys.stdout.isatty() or not os.path.exists(log):
            return
        steps = [entry for entry in results.read_lines(log) if entry["type"] == "step"]
        if steps:
            print(f"\r\033[K{run.name}: step {steps[-1]['step']}  loss {steps[-1]['loss']:.4f}", end="", flush=True)

    def restore(self, run):
        """Makes a Fisher again whose record is there but whose file is not; the record stays."""
        if run.kind == "fisher" and not os.path.exists(self.path("runs", run.name, "fisher.safetensors")):
            print(f"{run.name}: its file is made again", flush=True)
            self._make_fisher(run, self.path("runs", run.name), self.arguments(run), {}, {})


def read_statistics(text):
    """The numbers that ewc-cpt fisher prints."""
    first = re.search(r"Fisher: (\w+), (\w+), (\d+) sequences, (\d+) tokens", text)
    found = {"estimator": first[1], "unit": first[2], "sequences": int(first[3]), "tokens": int(first[4])}
    for key in ("sum", "mean", "max"):
        found[key] = float(re.search(rf"{key} (\S+)", text)[1])
    found["zero_share"] = float(re.search(r"zero (\S+) %", text)[1]) / 100
    found["quantiles"] = {percent: float(value) for percent, value in re.findall(r"([\d.]+) % ([\d.e+-]+)", text.split("quantiles")[1])}
    return found
