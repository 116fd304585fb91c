"""The records of a study, put together: runs that differ by seed alone are one setting, settings of one method a family, and each method has a best
one."""

import math
from statistics import mean, stdev

import results
from table import number

NO_PENALTY = "no penalty"
CHECK = NO_PENALTY + ", "  # how the methods of runs begin that only show what f32 products or the whole vocabulary do


def title(text):
    """english-leads as "English leads"."""
    return text.replace("-", " ").capitalize()


def spread(values, form):
    """A mean, with the standard deviation over seeds where there are several."""
    return form.format(mean(values)) + (f" ± {form.replace('+', '').format(stdev(values))}" if len(values) > 1 else "")


class Setting:
    """The runs of one method with one set of values, over seeds."""

    def __init__(self, method, label, records):
        self.method, self.label, self.records = method, label, records
        self.values = records[0]["values"]

    def seeds(self):
        return len(self.records)

    def losses(self, text):
        return [record["final"][text]["nll"] for record in self.records]

    def perplexities(self, text):
        return [record["final"][text]["perplexity"] for record in self.records]

    def perplexity(self, text):
        return math.exp(mean(self.losses(text)))

    def accuracies(self, items, key):
        return [record["choices"][items][key] for record in self.records]

    def course(self, text):
        """[(step, perplexity on the probe)]: the mean over seeds."""
        points = {}
        for record in self.records:
            for point in record["course"]:
                points.setdefault(point["step"], []).append(point["losses"][text])
        return [(step, math.exp(mean(values))) for step, values in sorted(points.items())]

    def probe(self):
        """As one record, for results.best: the first and the last evaluation, the mean over seeds."""
        ends = [{"losses": {text: mean(record["course"][place]["losses"][text] for record in self.records)
                            for text in self.records[0]["course"][0]["losses"]}} for place in (0, -1)]
        return {"setting": self, "course": ends}


class Summary:
    """A study's settings in the table's order, and what its base is like."""

    def __init__(self, table, records):
        self.table, self.records = table, records
        self.old, self.new = table.old(), table.new()
        self.failed = [record for record in records if record.get("failed")]
        trained = [record for record in records
                   if record["kind"] == "train" and not record.get("failed") and not record["method"].startswith(CHECK)]
        self.usual_rate = table.defaults["rate"]
        groups = {}
        for record in trained:
            groups.setdefault((record["method"], self.label(record)), []).append(record)
        self.settings = [Setting(method, label, members) for (method, label), members in groups.items()]

    def label(self, record):
        values, words = record["values"], []
        if "share" in values:
            words.append(f"{100 * values['share']:g} %")
        if "budget" in values:
            words.append(f"{number(values['budget'])} %")
        if "lambda" in values:
            words.append(f"λ {number(values['lambda'])}")
        if values["rate"] != self.usual_rate:
            words.append(("" if record["method"].endswith("rate") and "lambda" not in values else "rate ") + number(values["rate"]))
        return ", ".join(words)

    def record(self, name):
        return next((record for record in self.records if record["run"] == name), None)

    def base(self, text):
        return self.record("base")["final"][text]["perplexity"]

    def base_loss(self, text):
        return self.record("base")["final"][text]["nll"]

    def rise(self, setting, text):
        """How much the loss rose in training, as a share of the base's: one number a seed."""
        return [loss / self.base_loss(text) - 1 for loss in setting.losses(text)]

    def learned(self, setting):
        """How much of what no penalty learned of the first new text (nats a token) the setting learned: one number a seed, or none."""
        if self.plain() is None:
            return []
        text = self.new[0]
        gain = self.base_loss(text) - mean(self.plain().losses(text))
        return [(self.base_loss(text) - loss) / gain for loss in setting.losses(text)]

    def methods(self):
        return list(dict.fromkeys(setting.method for setting in self.settings))

    def of(self, method):
        return [setting for setting in self.settings if setting.method == method]

    def plain(self):
        return next((setting for setting in self.settings if setting.method == NO_PENALTY), None)

    def is_family(self, method):
        """Whether the method's settings lie on one way that begins at no penalty: one value alone changes."""
        settings = self.of(method)
        changing = [key for key in settings[0].values if len({str(setting.values.get(key)) for setting in settings}) > 1 and key != "seed"]
        return method != NO_PENALTY and len(changing) == 1 and not (method.endswith("rate") and "lambda" in settings[0].values)

    def line(self, method):
        """The method's settings, from no penalty on if it is a family."""
        settings = self.of(method)
        if not self.is_family(method):
            return settings
        order = sorted(settings, key=lambda setting: (-setting.values["rate"], setting.values.get("lambda", 0), setting.values.get("share", 0),
                                                      -setting.values.get("budget", 0)))
        return ([self.plain()] if self.plain() else []) + order

    def best(self, method):
        """The method's best setting, judged by the probe."""
        chosen = results.best([setting.probe() for setting in self.of(method)], self.old, self.new, self.table.budget)
        return chosen["setting"]

    def best_settings(self):
        return [self.best(method) for method in self.methods()]

    def tokens(self):
        """Tokens of a run, as 204 800."""
        return f"{self.settings[0].records[0]['tokens']:,}".replace(",", " ")

    def hours(self):
        return sum(record["timing"].get("whole_seconds", 0) for record in self.records) / 3600
