"""How cost grows: the bars of `make scale` and what was measured against them, and the data of its figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hybridvae.memory import gigabytes
from hybridvae.reporting.markdown import table, threads_in_words

Row = Mapping[str, Any]
FIGURE = "scale.svg"
_MINUTES_OF_30_MILLION, _MEMORY_OF_30_MILLION = 25, 4e9
_SHARE_OF_JSON = 0.4
_SECONDS_OF_AN_EPOCH, _MEMORY_OF_AN_EPOCH, _GROWTH = 90, 10e9, 3
_SECONDS_OF_JUDGE, _MINUTES_OF_LISTS = 3, 6
_QUALITY = 0.98
_TWO_PROCESSES = 1.5


@dataclass(frozen=True)
class Line:
    """A line of the table: what was measured, against which bar ("" for none), and whether that was kept."""

    work: str
    bar: str
    measured: str
    kept: bool
    rows: Sequence[Row]

    def cells(self) -> list[str]:
        """As Markdown; the seconds are those of all rows, the memory the most of one."""
        seconds = f"{sum(row['seconds'] for row in self.rows):,.1f}"
        peak = gigabytes(1e6 * max(row["peak_mb"] for row in self.rows))
        said = "" if not self.bar else "yes" if self.kept else "**no**"
        return [self.work, self.bar, self.measured, said, seconds, peak]


def scale_table(report: Mapping[str, Any]) -> str:
    """What was measured of each work, beside its bar."""
    head = ["work", "bar", "measured", "kept", "seconds", "peak memory, all processes"]
    return table(head, [line.cells() for line in lines(report["scale"])])


def scale_section(report: Mapping[str, Any]) -> str:
    """The table, where it comes from, and the figure."""
    threads: dict[str, list[int]] = {}
    for row in report["scale"].values():
        threads.setdefault(row["machine"], []).append(int(row["threads"]))
    machines = ", ".join(f"{machine}, {threads_in_words(*counts)}" for machine, counts in threads.items())
    return (
        f"{scale_table(report)}\n`make scale`, on {machines}. Peak memory is that of all processes of a work added up, "
        "where memory that they share counts for each.\n\n![Cost by rows and by items]"
        f"(docs/benchmarks/figures/{FIGURE})\n"
    )


def lines(works: Mapping[str, Row]) -> list[Line]:
    """The lines for the rows that are there."""
    by_part: dict[str, list[Row]] = {}
    for row in works.values():
        by_part.setdefault(row["part"], []).append(row)
    makers = {
        "prepare": _prepared,
        "read": _read,
        "epoch": _epochs,
        "judge": _judged,
        "lists": _listed,
        "memory": _limited,
        "sampled": _sampled,
        "processes": _processes,
    }
    return [line for part, make in makers.items() for line in make(by_part.get(part, []))]


def _prepared(rows: list[Row]) -> list[Line]:
    found = []
    for row in _by(rows, "rows"):
        size, minutes, peak = row["settings"]["rows"], row["seconds"] / 60, 1e6 * row["peak_mb"]
        kept = minutes <= _MINUTES_OF_30_MILLION and peak <= _MEMORY_OF_30_MILLION
        bar = f"{_MINUTES_OF_30_MILLION} minutes, {gigabytes(_MEMORY_OF_30_MILLION)}" if size == 30_000_000 else ""
        work = f"clean and split {size:,} rows, gzip JSON to tables"
        found.append(Line(work, bar, f"{minutes:.1f} minutes, {gigabytes(peak)}", kept, [row]))
    return found


def _read(rows: list[Row]) -> list[Line]:
    found = []
    for row in rows:
        own, alone = (row["measured"][key] for key in ("rows_a_second", "rows_a_second_json_alone"))
        said = f"{own:,.0f} rows a second, {own / alone:.0%}"
        work = f"read {row['settings']['rows']:,} rows, against unpacking and parsing JSON alone"
        found.append(Line(work, f"{_SHARE_OF_JSON:.0%}", said, own >= _SHARE_OF_JSON * alone, [row]))
    return found


def _epochs(rows: list[Row]) -> list[Line]:
    found, rows = [], _by(rows, "items")
    for row in rows:
        items, seconds = row["settings"]["items"], row["measured"]["seconds_a_million"]
        peak = 1e6 * row["peak_mb"]
        bar, kept, said = "", True, f"{seconds:,.1f} s"
        if items == 100_000:
            bar, kept = f"{_SECONDS_OF_AN_EPOCH} s", seconds <= _SECONDS_OF_AN_EPOCH
        if items == 500_000:
            bar, kept, said = gigabytes(_MEMORY_OF_AN_EPOCH), peak <= _MEMORY_OF_AN_EPOCH, f"{said}, {gigabytes(peak)}"
        work = f"an epoch of HybridVAE a million positives, {items:,} items"
        found.append(Line(work, bar, said, kept, [row]))
    if len(rows) > 1:
        least, most = rows[0], rows[-1]
        ratio = most["measured"]["seconds_a_million"] / least["measured"]["seconds_a_million"]
        work = f"growth of an epoch, {least['settings']['items']:,} to {most['settings']['items']:,} items"
        found.append(Line(work, f"{_GROWTH} x", f"{ratio:.1f} x", ratio <= _GROWTH, [least, most]))
    return found


def _judged(rows: list[Row]) -> list[Line]:
    found = []
    for row in rows:
        sizes, alone = row["settings"], row["measured"]["seconds_of_scores"]
        said = f"{row['seconds']:.1f} s, of these {alone:.1f} s for HybridVAE's scores"
        work = f"judge {sizes['users']:,} users, {sizes['items']:,} items"
        found.append(Line(work, f"{_SECONDS_OF_JUDGE} s", said, row["seconds"] <= _SECONDS_OF_JUDGE, [row]))
    return found


def _listed(rows: list[Row]) -> list[Line]:
    found = []
    for row in rows:
        sizes, minutes = row["settings"], row["seconds"] / 60
        work = f"lists for {sizes['users']:,} users, {sizes['items']:,} items"
        bar, kept = f"{_MINUTES_OF_LISTS} minutes", minutes <= _MINUTES_OF_LISTS
        found.append(Line(work, bar, f"{minutes:.1f} minutes", kept, [row]))
    return found


def _limited(rows: list[Row]) -> list[Line]:
    if not rows:
        return []
    outcomes = [row["measured"]["outcome"] for row in rows]
    said = ", ".join(f"{outcomes.count(one)} {one}" for one in ("fitted", "refused", "killed"))
    sizes = rows[0]["settings"]
    held = " and ".join(dict.fromkeys(row["measured"]["held_by"] for row in rows))
    work = (
        f"{len(rows)} models in {gigabytes(sizes['limit'])}, {sizes['users']:,} users, {sizes['items']:,} items "
        f"(held to it by {held})"
    )
    return [Line(work, "none killed", said, "killed" not in outcomes, rows)]


def _sampled(rows: list[Row]) -> list[Line]:
    found = []
    by_data: dict[str, list[Row]] = {}
    for row in _by(rows, "softmax_items"):
        by_data.setdefault(row["settings"]["dataset"], []).append(row)
    for dataset, of_data in by_data.items():
        full = of_data[0]
        if full["settings"]["softmax_items"] or len(of_data) < 2:
            continue
        for drawn in of_data[1:]:
            of_full, of_drawn = (row["measured"]["ndcg@10"] for row in (full, drawn))
            share = of_drawn / of_full
            work = (
                f"validation NDCG@10 on {dataset} ({full['measured']['items']:,} items), softmax over "
                f"{drawn['settings']['softmax_items']:,} drawn items against all"
            )
            said = f"{of_drawn:.4f} against {of_full:.4f}, {share:.1%}"
            found.append(Line(work, f"{_QUALITY:.0%}", said, share >= _QUALITY, [full, drawn]))
    return found


def _processes(rows: list[Row]) -> list[Line]:
    if len(rows) < 2:
        return []
    one, *_, several = _by(rows, "processes")
    ratio = several["measured"]["users_a_second"] / one["measured"]["users_a_second"]
    work = f"train in {several['settings']['processes']} processes against one, {one['settings']['items']:,} items"
    if users := several["measured"].get("users_a_step"):  # not in rows of before
        work += f", {users:,} users a step"
    said = f"{ratio:.2f} x users a second"
    return [Line(work, f"{_TWO_PROCESSES} x", said, ratio >= _TWO_PROCESSES, [one, several])]


def _by(rows: list[Row], size: str) -> list[Row]:
    return sorted(rows, key=lambda row: row["settings"][size])


def scale_frame(report: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of panel ("rows" or "items"), size, seconds, gigabytes: of the preparation, and of an epoch a million."""
    found = []
    for row in report["scale"].values():
        if row["part"] == "prepare":
            found.append(("rows", row["settings"]["rows"], row["seconds"], row["peak_mb"] / 1e3))
        elif row["part"] == "epoch":
            seconds = row["measured"]["seconds_a_million"]
            found.append(("items", row["settings"]["items"], seconds, row["peak_mb"] / 1e3))
    frame = pd.DataFrame(found, columns=["panel", "size", "seconds", "gigabytes"])
    return frame.sort_values(["panel", "size"], kind="stable", ignore_index=True)
