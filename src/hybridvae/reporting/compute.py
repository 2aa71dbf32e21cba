"""What the committed tables cost in hours of fits, from what their files say and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybridvae.reporting.markdown import table, threads_in_words
from hybridvae.reporting.model_titles import title_of

_SAID = """# Compute

Written by `make docs` from the files of `docs/benchmarks/`, and only from what they say: a dash stands where a file
says nothing. Hours are those of fits, summed over models and seeds, or over configurations; of `torture`, which fits
little, they are time of the processor; of `scale` they are those of all that it measures. Of a benchmark they are those
of the final fits. The fits before them, by which configurations were chosen, stand in the rows of `tuning`. A resumed
fit counts only the time after resuming.

Energy was not measured. The machines had 2 cores, so hours x 2 cores is an upper bound of the CPU hours where hours
are known. What ran on a GPU, and the fits that have no seconds, are not in it.
"""


@dataclass(frozen=True)
class _Fits:
    """Fits of one table.

    Attributes:
        seconds: of all that are known together; None where no fit of the table has any.
        untimed: what has no seconds, in words.
        where: threads or machine, in words.
    """

    seconds: float | None
    untimed: str
    where: str


def compute_page(reports: Mapping[str, Mapping[str, Any]], tunings: Mapping[str, Mapping[str, Any]]) -> str:
    """The page docs/compute.md: a row a table.

    Args:
        reports, tunings: what `docs/benchmarks/<name>.json` and `docs/benchmarks/tuning/<name>.json` hold, by name.
    """
    rows, hours = [], 0.0
    named = [*reports.items(), *((f"tuning/{name}", tried) for name, tried in tunings.items())]
    for name, report in named:
        fits = _of_tuning(report) if name.startswith("tuning/") else _of_report(report)
        hours += (fits.seconds or 0.0) / 3600
        rows.append([name, _command(report), _commits(report), _hours(fits.seconds), fits.untimed, fits.where])
    rows.append(["together", "", "", f"{hours:.1f}", "", ""])
    head = ["table", "command", "commit", "hours", "without seconds", "machine"]
    return f"{_SAID}\n{table(head, rows)}"


def _hours(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 3600:.2f}"


def _command(report: Mapping[str, Any]) -> str:
    commands = dict.fromkeys(part["command"] for part in _parts(report))
    return f"`{report['command']}`" if "command" in report else ", ".join(f"`{one}`" for one in commands) or "-"


def _parts(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Parts of a report with a command and a commit each."""
    return [*report.get("parts", {}).values(), *report.get("scale", {}).values()]


def _commits(report: Mapping[str, Any]) -> str:
    """The commits that a report says it is of, each shortened and once."""
    rows = [report, *report.get("literature", []), *_parts(report)]
    return ", ".join(dict.fromkeys(f"`{row['commit'][:12]}`" for row in rows if "commit" in row)) or "-"


def _of_report(report: Mapping[str, Any]) -> _Fits:
    if "models" in report:
        timed = {name: one for name, one in report["models"].items() if one["train_seconds"] is not None}
        untimed = [title_of(name) + _on_gpu(one) for name, one in report["models"].items() if name not in timed]
        seconds = sum(one["train_seconds"] * len(one["per_seed"]) for one in timed.values())
        return _Fits(seconds, ", ".join(untimed) or "-", f"{threads_in_words(report['threads'])} of a CPU")
    if "literature" in report:
        rows = report["literature"]
        threads = threads_in_words(*(row["threads"] for row in rows))
        return _Fits(sum(row["seconds"] for row in rows), "-", f"{threads} of a CPU")
    if "parts" in report:
        parts = report["parts"].values()
        machines = ", ".join(dict.fromkeys(part["machine"] for part in parts))
        return _Fits(sum(part["processor_seconds"] for part in parts), "-", machines)
    if "scale" in report:
        machines = ", ".join(dict.fromkeys(row["machine"] for row in _parts(report)))
        return _Fits(sum(row["seconds"] for row in _parts(report)), "-", machines)
    if "processor" in report:
        return _Fits(None, "-", f"{report['cores']} cores, {report['processor']}")
    return _Fits(None, "all", "-")


def _of_tuning(tried: Mapping[str, Any]) -> _Fits:
    fits = [fit for of_model in tried["models"].values() for fit in of_model]
    known = [fit["seconds"] for fit in fits if fit.get("seconds") is not None]
    untimed = f"{len(fits) - len(known)} of {len(fits)} configurations" if len(known) < len(fits) else "-"
    return _Fits(sum(known) if known else None, untimed, "-")


def _on_gpu(of_model: Mapping[str, Any]) -> str:
    return " (GPU)" if of_model.get("device", "cpu") != "cpu" else ""
