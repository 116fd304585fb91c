"""The tables of a study, as Markdown. Every function takes a Summary; report.py puts what it returns where the page names it."""

from statistics import mean, median, stdev

from summary import spread, title

MISSING = "(not run yet)\n"


def rows(head, body, numbers_from=1):
    """A table; columns from `numbers_from` on are aligned right."""
    line = ["---"] * numbers_from + ["---:"] * (len(head) - numbers_from)
    return "".join("| " + " | ".join(str(cell) for cell in cells) + " |\n" for cells in [head, line, *body])


def percent(values):
    return spread([100 * value for value in values], "{:+.1f}") + " %"


def about(found):
    """How many runs, on what, how long."""
    made = [record["made_with"] for record in found.records]
    rates = sorted(record["timing"]["tokens_per_second"] for record in found.records
                   if record["kind"] == "train" and "tokens_per_second" in record["timing"])
    steps = found.settings[0].records[0]["steps"] if found.settings else 0
    planned, names = found.table.runs, {record["run"] for record in found.records}
    missing = [run.name for run in planned if run.name not in names]
    body = [("runs", f"{len(found.records)} of {len(planned)}" + (f" (not yet: {', '.join(missing)})" if missing and len(missing) < 20 else "")),
            ("a training run", f"{steps} steps, {found.tokens()} scored tokens" if steps else "none yet"),
            ("machine", "; ".join(dict.fromkeys(entry["machine"] for entry in made))),
            ("library", "; ".join(dict.fromkeys(f"{entry['version']}, commit {entry['commit']}" for entry in made))),
            ("time of all runs", f"{found.hours():.1f} hours"),
            ("tokens a second in training", f"{rates[0]:.0f} to {rates[-1]:.0f}, median {median(rates):.0f}" if rates else ""),
            ("failed runs", ", ".join(record["run"] for record in found.failed) or "none")]
    return rows(("", ""), body)


def texts(found):
    """Perplexities and accuracies before training."""
    base = found.record("base")
    if base is None:
        return MISSING
    body = [(title(text), f"{base['final'][text]['tokens']}", f"{base['final'][text]['nll']:.4f}", f"{base['final'][text]['perplexity']:.2f}")
            for text in [*found.old, *found.new]]
    return rows(("held-out text", "scored tokens", "loss", "perplexity"), body)


def fishers(found):
    """Statistics of the Fisher diagonals."""
    made = [record for record in found.records if record["kind"] == "fisher"]
    if not made:
        return MISSING
    body = []
    for record in made:
        s = record["statistics"]
        body.append((s["estimator"], s["sequences"], f"{s['mean']:.3g}", f"{s['quantiles']['50']:.2g}", f"{s['quantiles']['99']:.2g}",
                     f"{s['quantiles']['99.9']:.2g}", f"{s['max']:.3g}", f"{100 * s['zero_share']:.1f} %", f"{record['timing']['seconds']:.0f}"))
    text = rows(("estimator", "sequences", "mean", "median", "99 %", "99.9 %", "largest", "zeros", "seconds"), body)
    compared = next((record["comparison"] for record in found.records if record["kind"] == "compare"), None)
    if compared is None:
        return text
    names = {name: name.removeprefix("fisher-") for name in compared["shares"]}
    groups = list(next(iter(compared["shares"].values())))
    text += "\n" + rows(("share of the sum", *groups), [(names[name], *(f"{100 * shares[group]:.1f} %" for group in groups))
                                                        for name, shares in compared["shares"].items()])
    pairs = [(" and ".join(names[name] for name in pair["pair"]),
              *(f"{pair[key]:.3f}" for key in ("pearson", "pearson_of_logarithms", "spearman")), f"{100 * pair['common_in_top_percent']:.0f} %")
             for pair in compared["pairs"]]
    return text + "\n" + rows(("correlation", "of values", "of logarithms", "of ranks", "common in the top 1 %"), pairs)


def setting_row(found, setting, bold=False):
    name = f"{setting.method}{' ' if setting.label else ''}{setting.label}"
    cells = [spread(setting.perplexities(text), "{:.2f}") for text in [*found.old, *found.new]]
    return (f"**{name}**" if bold else name, *cells, *(percent(found.rise(setting, text)) for text in found.old),
            spread([100 * value for value in found.learned(setting)], "{:.0f}") + " %" if found.learned(setting) else "", setting.seeds())


def head(found):
    names = [title(text) for text in [*found.old, *found.new]]
    return ("run", *names, *(f"loss of {title(text)}" for text in found.old), f"learned of {title(found.new[0])}", "seeds")


def base_row(found):
    return ("before training", *(f"{found.base(text):.2f}" for text in [*found.old, *found.new]), *("" for _ in found.old), "", "")


def methods(found):
    """Every setting; the best one of each method in bold."""
    if not found.settings or found.record("base") is None:
        return MISSING
    chosen = found.best_settings()
    return rows(head(found), [base_row(found), *(setting_row(found, setting, setting in chosen) for setting in found.settings)])


def best(found):
    """Each method at its best setting, and against EWC at its best: differences of losses (nats a token) where below 0 is better."""
    if not found.settings or found.record("base") is None:
        return MISSING
    chosen = found.best_settings()
    reference = next((setting for setting in chosen if setting.method == "EWC"), chosen[0])
    body = []
    for setting in sorted(chosen, key=lambda setting: sum(map(mean, (setting.losses(found.old[0]), setting.losses(found.new[0]))))):
        name = f"{setting.method}{' ' if setting.label else ''}{setting.label}"
        within = all(mean(found.rise(setting, text)) <= found.table.budget for text in found.old)
        differences = [mean(setting.losses(text)) - mean(reference.losses(text)) for text in [*found.old, *found.new]]
        body.append((name, *(f"{value:+.4f}" if setting is not reference else "0" for value in differences), "yes" if within else "no"))
    names = [title(text) for text in [*found.old, *found.new]]
    return rows(("each at its best setting", *names, f"old texts within {100 * found.table.budget:g} %"), body)


def budgets(found):
    """What the forget budgets came to."""
    made = [record for record in found.records if record.get("forget_budget")]
    if not made:
        return MISSING
    means = {record["statistics"]["estimator"]: record["statistics"]["mean"] for record in found.records if record["kind"] == "fisher"}
    body = []
    for record in made:
        end = record["forget_budget"]
        body.append((record["run"], f"{100 * end['budget']:g} %", "yes" if end["met"] else "no", f"{100 * end['rise']:+.2f} %",
                     *(f"{100 * (record['final'][text]['nll'] / found.base_loss(text) - 1):+.2f} %" for text in found.old),
                     f"{end['lambda'] * means['empirical']:.3g}" if "empirical" in means else ""))
    return rows(("run", "budget", "met", "loss on the probe", *(f"loss of {title(text)}" for text in found.old), "relative λ at the end"), body)


def choices(found):
    """Multiple-choice accuracy, by sum and by character, before and after."""
    base = found.record("base")
    if base is None or not base.get("choices"):
        return MISSING
    sets = list(base["choices"])
    heads = [f"{title(items)} {kind}" for items in sets for kind in ("sum", "per byte")]
    keys = [(items, key) for items in sets for key in ("accuracy", "accuracy_normalized")]
    body = [("before training", *(f"{100 * base['choices'][items][key]:.1f} %" for items, key in keys))]
    for setting in found.best_settings():
        name = f"{setting.method}{' ' if setting.label else ''}{setting.label}"
        body.append((name, *(spread([100 * value for value in setting.accuracies(items, key)], "{:.1f}") + " %" for items, key in keys)))
    count = max(entry["items"] for entry in base["choices"].values())
    error = 50 / count**0.5
    return rows(("", *heads), body) + (f"\n{count} items a set: by the choice of items alone an accuracy near a half has a standard error of "
                                       f"{error:.1f} points.\n")


def checks(found):
    """What the cut vocabulary and bf16 products do, where the study has runs for that."""
    pairs = [("base", "base-whole-vocabulary", "before training: the whole vocabulary"),
             ("plain-1", "plain-whole-vocabulary-1", "no penalty: the whole vocabulary"), ("plain-1", "plain-f32-1", "no penalty: f32 products")]
    body = []
    for name, other, text in pairs:
        a, b = found.record(name), found.record(other)
        if a and b:
            rates = [f"{r['timing']['tokens_per_second']:.0f}" if "tokens_per_second" in r["timing"] else "" for r in (a, b)]
            body.append((text, *(f"{b['final'][t]['nll'] - a['final'][t]['nll']:+.4f}" for t in [*found.old, *found.new]), *rates))
    if not body:
        return MISSING
    return rows(("change of the loss", *(title(text) for text in [*found.old, *found.new]), "tokens/s as in the study", "tokens/s so"), body)


def spreads(found):
    """The largest and mean standard deviation over seeds of each text's loss."""
    several = [setting for setting in found.settings if setting.seeds() > 1]
    if not several:
        return MISSING
    body = []
    for text in [*found.old, *found.new]:
        deviations = [stdev(setting.losses(text)) for setting in several]
        body.append((title(text), f"{mean(deviations):.4f}", f"{max(deviations):.4f}"))
    return rows(("standard deviation of the loss over seeds", "mean over settings", "largest"), body)


def runs(found):
    """The page of all runs: time, speed, seed and commands."""
    body = []
    for record in found.records:
        timing = record["timing"]
        final = record.get("final", {})
        body.append((record["run"], record["values"].get("seed", ""), f"{timing.get('whole_seconds', 0):.0f}",
                     f"{timing['tokens_per_second']:.0f}" if "tokens_per_second" in timing else "",
                     *(f"{final[text]['perplexity']:.3f}" if text in final else "" for text in [*found.old, *found.new])))
    text = (f"# {found.table.title}: every run\n\nMade by examples/paper/report.py from results.jsonl, which has more (the course of the losses, "
            "distances, penalties).\n\n")
    text += rows(("run", "seed", "seconds", "tokens/s", *(title(name) for name in [*found.old, *found.new])), body)
    text += "\n## Commands\n\nIn the directory that `run.sh` makes; `--resume`, `--quiet` and `--threads` are left out.\n\n"
    for record in found.records:
        if record["commands"]:
            text += f"{record['run']}:\n```\n" + "\n".join(record["commands"]) + "\n```\n"
    return text


def relative(found):
    """What relative lambdas are in absolute ones."""
    made = [record for record in found.records if record["kind"] == "fisher"]
    if not made:
        return MISSING
    means = {record["statistics"]["estimator"]: record["statistics"]["mean"] for record in made}
    return "".join(f"* {estimator}: λ 1 relative is λ {1 / value:.3g} absolute.\n" for estimator, value in means.items())
