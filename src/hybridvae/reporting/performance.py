"""The page docs/performance.md: this project's works beside those of other libraries, from what `make peers` wrote."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

import pandas as pd

from hybridvae.reporting.markdown import table, threads_in_words
from hybridvae.reporting.model_titles import title_of

Report = Mapping[str, Any]
Row = Mapping[str, Any]
TITLES = {
    "hybridvae": "HybridVAE",
    "recbole": "RecBole",
    "rectools": "RecTools",
    "lenskit": "LensKit",
    "scipy": "SciPy",
    "dvc": "DVC",
}
FIGURE = "peers.svg"
QUALITY_FIGURE = "quality-by-time.svg"
_SAID = """# Performance

Written by `make docs` from `docs/benchmarks/peers.json`, which `make peers DATASET={dataset}` measures.

This project and the libraries that a user would pick instead do the same works: on the same split and machine, with
the same parameters and threads, each in a process of its own, one library after the other. Seconds are medians over
runs. A ratio is the seconds of the other library over ours of the same run, so above 1 we are faster. It is the median
over runs, with the least and the greatest; where it has no range, there was one run. NDCG@10 is by the judge of this
project, on the full ranking of the validation part, after the epochs that were timed and not at the end of training. It
shows whether a library that is fast learns as much. Only HybridVAE's own row is of its whole fit.
"""
_NOTES = {
    "multvae": "RecBole's Mult-VAE draws its latent noise with a hundredth of the deviation, so it learns faster in "
    "the first epochs.",
    "sasrec": "RecBole's SASRec has a row for each item that is to be foretold. Its batches are so large that an epoch "
    "has as many steps as here.",
    "ease": "EASE is inverted in double precision here and in SciPy's row, in single precision in the other libraries.",
    "judge": "A judgement here also gives the coverage and the popularity of lists.",
}
_OF_QUALITY = """One fit of each model with its defaults, as the stage `validate` makes it: judged on the validation
part every few epochs, and stopped when it gets no better. The seconds include the judging and all that comes before the
first epoch, such as HybridVAE's EASE. HybridVAE's figures are those with the first weight of EASE that it tries; it
chooses the weight after the last epoch.
"""


def performance_page(report: Report) -> str:
    """The whole page.

    Args:
        report: what docs/benchmarks/peers.json holds.
    """
    compared = [name for name, work in report["works"].items() if work["against"]]
    others = [name for name, work in report["works"].items() if not work["against"]]
    parts = [_SAID.format(dataset=report["dataset"]), _how(report)]
    if rows := [row for name in compared for row in _compared(report, name)]:
        head = ["work", "library", "seconds here", "seconds there", "ratio", "bar", "NDCG@10 here", "there"]
        parts += ["## Beside other libraries", table(head, rows)]
        parts += [f"![How many times faster than other libraries](benchmarks/figures/{FIGURE})"]
        if notes := [f"- {_NOTES[name]}" for name in compared if name in _NOTES and ratios_of(report, name)]:
            parts += ["Differences that the parameters cannot remove:", "\n".join(notes)]
    if rows := [row for name in others if (row := _alone(report, name))]:
        parts += ["## By itself", table(["work", "measured", "bar"], rows)]
    if rows := _quality(report):
        head = ["model", "best NDCG@10", "seconds to 98 % of it", "to the best", "in all"]
        parts += ["## Quality by time", _OF_QUALITY, table(head, rows)]
        parts += [f"![NDCG@10 on validation by seconds of training](benchmarks/figures/{QUALITY_FIGURE})"]
    timed = [f"- {work['title']}: {work['what']}." for name, work in report["works"].items() if _rows(report, name)]
    parts += ["## What is timed", "\n".join(timed)]
    if rows := _rest(report):
        said = "Of the time of operators in a profiled epoch, the greatest shares of those that are no matrix product."
        parts += ["## What else training takes", said, table(["model", "products", "the rest"], rows)]
    left_out = [f"- {name}: {why}." for name, why in report["not_measured"].items()]
    left_out += [f"- {name}: {str(why).removesuffix('.')}." for name, why in report["failed"].items()]
    for name, work in report["works"].items():
        missing = [
            "here" if place == 0 else TITLES.get(library, library)
            for place, library in enumerate(work["libraries"])
            if not _rows(report, name, library) and f"{name}, {library}" not in report["failed"]
        ]
        left_out += [f"- {work['title']}: not measured so far ({', '.join(missing)})."] if missing else []
    parts += ["## Not measured", "\n".join(left_out)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def speedups(report: Report) -> pd.DataFrame:
    """What the figure shows: rows of work, library, ratio, low, high and bar (NaN where the bar is to another one)."""
    rows = []
    for name, work in report["works"].items():
        if not work["against"]:
            continue
        ratios = ratios_of(report, name)
        for library, of_runs in ratios.items():
            bar = work["bar"] if library == _judged_against(work, ratios) else float("nan")
            row = {"work": work["title"].replace("`", ""), "library": TITLES.get(library, library), "bar": bar}
            rows.append(row | {"ratio": median(of_runs), "low": min(of_runs), "high": max(of_runs)})
    return pd.DataFrame(rows, columns=["work", "library", "ratio", "low", "high", "bar"])


def curves(report: Report) -> pd.DataFrame:
    """The fits that were judged as they went: rows of model, seconds, ndcg, in the order of time."""
    rows = [
        {"model": model, "seconds": seconds, "ndcg": figure}
        for model, row in _judged_fits(report)
        for seconds, figure in row["curve"]
    ]
    return pd.DataFrame(rows, columns=["model", "seconds", "ndcg"])


def seconds_of(row: Row) -> float:
    """The seconds of a row: the median of its epochs after the first, in which memory is asked for."""
    seconds = row["seconds"]
    return float(median(seconds[1:] if row["asked"]["epochs"] > 1 and len(seconds) > 1 else seconds))


def ratios_of(report: Report, name: str) -> dict[str, list[float]]:
    """Library -> of each run that both did, its seconds over ours."""
    ours = {row["run"]: seconds_of(row) for row in _rows(report, name, report["works"][name]["libraries"][0])}
    found: dict[str, list[float]] = {}
    for library in report["works"][name]["libraries"][1:]:
        pairs = [seconds_of(row) / ours[row["run"]] for row in _rows(report, name, library) if row["run"] in ours]
        if pairs:
            found[library] = pairs
    return found


def _judged_against(work: Row, ratios: Mapping[str, list[float]]) -> str:
    """The library that the bar is for."""
    return min(ratios, key=lambda library: median(ratios[library])) if work["against"] == "fastest" else work["against"]


def _rows(report: Report, name: str, library: str | None = None) -> list[Row]:
    return [row for row in report["rows"] if row["work"] == name and library in (None, row["library"])]


def _compared(report: Report, name: str) -> list[list[str]]:
    """The rows of a work, one for each library that did it too."""
    work, ratios = report["works"][name], ratios_of(report, name)
    ours, lines = _rows(report, name, work["libraries"][0]), list[list[str]]()
    for library, of_runs in ratios.items():
        theirs = _rows(report, name, library)
        middle, bar = median(of_runs), "-"
        if library == _judged_against(work, ratios):
            bar = _bar(f"at least {work['bar']:.3g}", middle >= work["bar"])
        spread = f" ({min(of_runs):.3g} to {max(of_runs):.3g})" if len(of_runs) > 1 else ""
        seconds = [f"{median(map(seconds_of, rows)):.3g}" for rows in (ours, theirs)]
        title = work["title"] if not lines else ""
        lines.append([title, _library(theirs), *seconds, f"{middle:.3g}{spread}", bar, _ndcg(ours), _ndcg(theirs)])
    return lines


def _alone(report: Report, name: str) -> list[str]:
    """The row of a work that is compared with nothing; empty where it was not measured."""
    work, bar = report["works"][name], report["works"][name]["bar"]
    if not (rows := _rows(report, name)) or work["measure"] == "curve":
        return []
    if work["measure"] == "share":
        share = median(row["share"] for row in rows)
        return [work["title"], f"{share:.0%} of an epoch", _bar(f"at least {bar:.0%}", share >= bar)]
    if work["measure"] == "users_a_second":
        speed = median(row["users"] / seconds_of(row) for row in rows)
        return [
            work["title"],
            f"{speed:,.0f} users a second",
            _bar(f"at least {bar:,.0f}", speed >= bar),
        ]
    seconds = median(map(seconds_of, rows))
    return [work["title"], f"{seconds:.2f} s", _bar(f"at most {bar:g} s", seconds <= bar)]


def _quality(report: Report) -> list[list[str]]:
    """A row for each model whose fit was judged as it went."""
    lines = []
    for model, row in _judged_fits(report):
        at_best = next(seconds for seconds, figure in row["curve"] if figure == row["own"])
        times = [f"{seconds:,.0f}" for seconds in (seconds_of(row), at_best, row["whole"])]
        lines.append([model, f"{row['own']:.4f}", *times])
    return lines


def _judged_fits(report: Report) -> Iterator[tuple[str, Row]]:
    """The fits that were judged as they went, by the titles of their models."""
    for row in report["rows"]:
        if "curve" in row:
            yield title_of(report["works"][row["work"]]["block"]), row


def _rest(report: Report) -> list[list[str]]:
    lines = []
    for row in report["rows"]:
        if "rest" in row:
            rest = ", ".join(
                f"{operator.removeprefix('aten::')} {share:.1%}" for operator, share in row["rest"].items()
            )
            title = report["works"][row["work"]]["title"]
            lines.append([title.removeprefix("Matrix products in "), f"{row['profiled_share']:.1%}", rest])
    return lines


def _bar(said: str, met: bool) -> str:
    return f"{said}: {'met' if met else 'missed'}"


def _library(rows: list[Row]) -> str:
    """Its name and version."""
    name = rows[0]["library"]
    number = rows[0]["versions"].get(name)
    return " ".join(filter(None, [TITLES.get(name, name), number]))


def _ndcg(rows: list[Row]) -> str:
    """The median of what the judge found, or what the work itself gave, if it did."""
    found = [figure for row in rows if (figure := row.get("ndcg@10")) is not None]
    return f"{median(found):.4f}" if found else "-"


def _how(report: Report) -> str:
    """The machine, the data and the versions."""
    used: dict[str, set[str]] = {}
    for row in report["rows"]:
        for package, number in row["versions"].items():
            used.setdefault(package, set()).add(number)
    versions = ", ".join(f"{package} {' and '.join(sorted(numbers))}" for package, numbers in sorted(used.items()))
    threads = threads_in_words(report["threads"])
    commits = ", ".join(sorted({f"`{row['commit'][:12]}`" for row in report["rows"]}))
    machine = f"{report['cores']} core{'s' if report['cores'] > 1 else ''} ({report['processor']}), {threads}"
    note = f"{report['note']}\n\n" if report.get("note") else ""
    return f"{note}On `{report['dataset']}`, {machine}, at commit {commits}. Versions: {versions}."
