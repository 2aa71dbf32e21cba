"""Our models beside published figures: the page that comes from docs/benchmarks/literature.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridvae.reporting.markdown import bold, table, threads_in_words
from hybridvae.reporting.model_titles import title_of

Report = dict[str, Any]
Row = dict[str, Any]

_LEAVE_ONE_OUT = ("hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20")
_RANDOM = ("recall@20", "ndcg@20")
_SHORT = {"hit": "HR", "recall": "Recall", "ndcg": "NDCG"}


@dataclass(frozen=True)
class _Section:
    """One table of the page.

    Attributes:
        sort_by: the metric that decides the order, the best first.
    """

    title: str
    about: str
    metrics: tuple[str, ...]
    sort_by: str


# By the order of ties, or what stands in its place.
_SECTIONS = {
    "item_id": _Section(
        "Ties by item id",
        "Of equal timestamps the last by item id counts as the last, as in the files that most published figures come "
        "from. Ids tell how old a product is, so names decide here what is held out.",
        _LEAVE_ONE_OUT,
        "ndcg@10",
    ),
    "drawn": _Section(
        "Ties drawn",
        "A seeded draw decides which of equal timestamps is the last.",
        _LEAVE_ONE_OUT,
        "ndcg@10",
    ),
    "random_433": _Section(
        "AlphaRec's own protocol",
        "Of each user's items 40 % drawn at random train, 30 % are for validation and 30 % for test. At test all items "
        "but those of the first two parts are ranked, and the history stays the training part. "
        "Our settings are those of leave-one-out.",
        _RANDOM,
        "ndcg@20",
    ),
}


def literature_page(report: Report) -> str:
    """The page: protocol, a table for each order of ties, sources, settings, and what was not done."""
    parts = [_protocol(report)]
    for ties, section in _SECTIONS.items():
        if ours := _ours(report, ties):
            published = [row for row in report["published"]["rows"] if row["ties"] == ties]
            parts += [f"## {section.title}\n", f"{section.about}\n", _ranking(ours, published, section)]
    parts += [_sources(report), _settings(report), _not_done(report)]
    return "\n".join(parts).rstrip("\n") + "\n"


def literature_overview(report: Report) -> str:
    """For the README: by each order of ties the best NDCG@10 of ours and of the published, and the way to the page."""
    rows = []
    for ties in ("item_id", "drawn"):
        ours = {title_of(model): _mean(of_model, "ndcg@10") for model, of_model in _ours(report, ties).items()}
        published = {
            f"{row['model']} ({report['published']['sources'][row['source']]['name']})": row["figures"]["ndcg@10"]
            for row in report["published"]["rows"]
            if row["ties"] == ties
        }
        if ours:
            both = [max(figures.items(), key=lambda item: item[1]) for figures in (ours, published)]
            rows.append([_SECTIONS[ties].title, *(f"{name}: {figure:.4f}" for name, figure in both)])
    link = "[All models beside all figures](docs/benchmarks/literature.md), with sources and caveats.\n"
    return table(["NDCG@10, full ranking", "the best here", "the best published"], rows) + "\n" + link


def _ours(report: Report, ties: str | None = None) -> dict[str, list[Row]]:
    """Model -> its rows by an order of ties, one a seed; without one all its rows."""
    found: dict[str, list[Row]] = {}
    for row in report["literature"]:
        if ties in (row["ties"], None):
            found.setdefault(row["model"], []).append(row)
    return found


def _mean(rows: list[Row], metric: str) -> float:
    return float(np.mean([row["figures"][metric] for row in rows]))


def _protocol(report: Report) -> str:
    commits = ", ".join(f"`{commit[:12]}`" for commit in sorted({row["commit"] for row in report["literature"]}))
    return "\n".join(
        [
            "# Beside published figures",
            "",
            f"- Data: Amazon Beauty 2014, 5-core, {report['users']:,} users and {report['items']:,} items; every "
            "rating is a positive.",
            "- Split: each user's last item is the test, the one before it validation, the rest trains.",
            "- Fit: on the training part alone; the epoch is chosen by NDCG@10 on validation, over all unseen items.",
            "- Test: the history holds the validation item too; a user's one target is ranked among all items that the "
            "user has not seen.",
            "- Figures: hit ratio (HR) and NDCG at 5, 10 and 20; means over users, and over seeds with their standard "
            "deviation.",
            "",
            f"Written by `make docs` from `literature.json`, which `{report['command']}` made at {commits} from "
            f"reviews with sha256 `{report['data_sha256'][:12]}...`. What was fitted here is in bold.",
            "",
        ]
    )


def _ranking(ours: Mapping[str, list[Row]], published: list[Row], section: _Section) -> str:
    """Ours and the published in one table, the best first."""
    rows: list[tuple[float, list[str]]] = []
    for model, of_model in ours.items():
        cells = [bold(title_of(model), True), *(_with_spread(of_model, metric) for metric in section.metrics)]
        seeds = f"here, {len(of_model)} seed{'s' if len(of_model) > 1 else ''}" if of_model[0]["seeded"] else "here"
        rows.append((_mean(of_model, section.sort_by), [*cells, bold(seeds, True)]))
    for row in published:
        figures = row["figures"]
        cells = [f"{figures[metric]:.4f}" if metric in figures else "-" for metric in section.metrics]
        rows.append((figures[section.sort_by], [row["model"], *cells, row["source"]]))
    head = ["model"] + [f"{_SHORT[name]}@{k}" for name, _, k in (metric.partition("@") for metric in section.metrics)]
    ordered = sorted(rows, key=lambda row: row[0], reverse=True)  # stable: of equal figures ours first
    return table([*head, "source"], [cells for _, cells in ordered])


def _with_spread(rows: list[Row], metric: str) -> str:
    values = [row["figures"][metric] for row in rows]
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def _sources(report: Report) -> str:
    """Where the published figures come from, and how their protocols differ."""
    shown = {row["source"] for row in report["published"]["rows"] if _ours(report, row["ties"])}
    lines = [
        f"- {key}: {source['name']}. Caveat: {source['caveat']}."
        for key, source in report["published"]["sources"].items()
        if key in shown
    ]
    said = (
        "Published figures are repeated as their sources give them; none was measured here. Rows whose order of ties "
        "is not said stand with those by item id."
    )
    return "\n".join(["## Sources and caveats", "", said, "", *lines, ""])


def _settings(report: Report) -> str:
    """What each of our models was fitted with, and what that took."""
    rows = []
    for model, of_model in _ours(report).items():
        for ties, section in _SECTIONS.items():
            if of_ties := [row for row in of_model if row["ties"] == ties]:
                epochs = ", ".join(f"{row['epochs']} of {row['epochs_run']}" for row in of_ties if row["epochs_run"])
                on = sorted({_machine(row) for row in of_ties})
                validation = float(np.mean([row["validation_ndcg@10"] for row in of_ties]))
                seconds = float(np.mean([row["seconds"] for row in of_ties]))
                cells = [f"{validation:.4f}", epochs or "-", f"{seconds:,.0f}", "; ".join(on)]
                rows.append([title_of(model), section.title, *cells])
    head = ["model", "table", "NDCG@10 on validation", "epoch chosen, by seed", "seconds of a fit", "on"]
    lines = []
    for model, of_model in _ours(report).items():
        for row in _distinct(of_model):
            origin = row["settings_from"] or "as in params.yaml, which serves several data sets"
            parameters = row["parameters"].items()
            listed = ", ".join(f"{name} {_value(value)}" for name, value in parameters) or "no parameters"
            lines.append(f"- {title_of(model)} ({origin}): {listed}")
    timed = "Seconds are those of a fit with its validations; one that was stopped counts from where it went on.\n"
    return "\n".join(["## Settings of our models", "", table(head, rows), timed, *lines, ""])


def _machine(row: Row) -> str:
    if row["device"] != "cpu":
        return str(row["device"])
    return f"CPU, {threads_in_words(row['threads'])}"


def _distinct(rows: list[Row]) -> list[Row]:
    """Of rows with the same parameters the first."""
    found: list[Row] = []
    for row in rows:
        if row["parameters"] not in [one["parameters"] for one in found]:
            found.append(row)
    return found


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _not_done(report: Report) -> str:
    """What a reader might take for granted."""
    models = _ours(report)
    lines = [
        "- No model was tuned here beyond what stands with its settings; no setting was chosen by the test part.",
        "- No published model was run again here.",
    ]
    if stuck := [title_of(model) for model, rows in models.items() if not rows[0]["folds_in"]]:
        lines.append(
            f"- Ranked by the training part alone, since no other history can be given: {', '.join(stuck)}. "
            "The validation item is left out of the ranking, as for all models."
        )
    present = [ties for ties in _SECTIONS if _ours(report, ties)]
    counts = {(model, ties): len(_ours(report, ties).get(model, [])) for model in models for ties in present}
    most = max((counts[model, ties] for model, ties in counts if models[model][0]["seeded"]), default=0)
    fewer = [
        f'{title_of(model)} ("{_SECTIONS[ties].title}": {count} of {most})'
        for (model, ties), count in counts.items()
        if models[model][0]["seeded"] and 0 < count < most
    ]
    if fewer:
        lines.append(f"- Fewer seeds than others have: {', '.join(fewer)}.")
    for ties in present:
        if absent := [title_of(model) for model in report["of_params"] if model not in _ours(report, ties)]:
            lines.append(f'- Not run for "{_SECTIONS[ties].title}": {", ".join(absent)}.')
    if "random_433" not in present:
        lines.append("- AlphaRec's own protocol, a random split, was not run.")
    return "\n".join(["## What was not done", "", *lines, ""])
