"""The table of a study's runs: read from a .toml file, and every entry with lists spread into single runs.

An entry's keys are values for the {placeholders} of its name and options; a key with a list makes a run of each of its values. "best of PATTERN" is
the value that the key has in the best of the runs above whose names match: known once these are finished (results.best). Naming runs/NAME/ in
the options makes NAME a run that must come before."""

import fnmatch
import itertools
import re
import tomllib
from dataclasses import dataclass, field

BEST = "best of "
KINDS = ("base", "fisher", "compare", "train")


class TableError(Exception):
    """The table says something that cannot be done."""


@dataclass
class Run:
    """One run. `options` has {placeholders} left of values that are not known yet."""

    name: str
    kind: str
    method: str
    options: str
    values: dict
    needs: list = field(default_factory=list)

    def best_of(self):
        """{key: pattern} of the values that other runs decide."""
        return {key: value[len(BEST):] for key, value in self.values.items() if isinstance(value, str) and value.startswith(BEST)}


class Table:
    """A study: where its texts are, and its runs in the order in which they are made."""

    def __init__(self, path):
        with open(path, "rb") as file:
            content = tomllib.load(file)
        self.path = path
        self.title = content["title"]
        self.length = content["length"]
        self.probe, self.final = content["probe_sequences"], content["final_sequences"]
        self.choice_items = content["choice_items"]
        self.budget = content["budget"]
        self.tokens_per_second = content["tokens_per_second"]
        self.sources = content["sources"]
        self.texts = content["texts"]
        self.heldout = content["heldout"]
        self.choices = content["choices"]
        self.options = content["options"]
        self.defaults = content["defaults"]
        self.runs = [run for entry in content["run"] for run in self._spread(entry)]
        self._connect()

    def old(self):
        """Names of the held-out texts that should be kept, that of the Fisher's kind first."""
        return [text["name"] for text in self.heldout if text["role"] == "old"]

    def new(self):
        """Names of the held-out texts that should be learned, that of the training text's kind first."""
        return [text["name"] for text in self.heldout if text["role"] == "new"]

    def _spread(self, entry):
        entry = dict(self.defaults, **entry)
        kind = entry.get("kind", "train")
        if kind not in KINDS:
            raise TableError(f"{self.path}: run {entry['name']}: kind {kind} is none of {', '.join(KINDS)}")
        fixed = ("name", "kind", "method", "options")
        keys = [key for key in entry if key not in fixed]
        for chosen in itertools.product(*(entry[key] if isinstance(entry[key], list) else [entry[key]] for key in keys)):
            values = dict(zip(keys, chosen))
            yield Run(fill(entry["name"], values), kind, fill(entry.get("method", kind), values), entry.get("options", ""), values)

    def _connect(self):
        names = [run.name for run in self.runs]
        for name in names:
            if names.count(name) > 1:
                raise TableError(f"{self.path}: two runs are called {name}: put the key that differs into the name")
        for run in self.runs:
            above = names[:names.index(run.name)]
            run.needs = re.findall(r"runs/([^/\s]+)/", fill(run.options, run.values))
            for pattern in run.best_of().values():
                run.needs += fnmatch.filter(above, pattern) or [pattern]
            missing = set(run.needs) - set(above)
            if missing:
                raise TableError(f"{self.path}: run {run.name} needs runs that stand nowhere above it: {', '.join(sorted(missing))}")

    def find(self, name):
        return next(run for run in self.runs if run.name == name)


def number(value):
    """A value as it stands in a command: 0.0001 as 1e-4 stays readable, whole numbers stay whole."""
    if isinstance(value, float):
        text = f"{value:g}"
        return re.sub(r"e([+-])0*(\d)", lambda match: "e" + ("-" if match[1] == "-" else "") + match[2], text)
    return str(value)


def fill(template, values):
    """The template with its {keys} replaced by values, repeatedly, since values may have placeholders too."""
    for _ in range(4):
        filled = re.sub(r"\{(\w+)\}", lambda match: number(values[match[1]]) if match[1] in values else match[0], template)
        if filled == template:
            break
        template = filled
    return template
