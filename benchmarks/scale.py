"""How cost grows: with the rows that are prepared, and with the items that are learned, judged and listed.

    python benchmarks/scale.py                                   # what is not measured yet
    python benchmarks/scale.py --only epoch-100000,judge         # one row, and all rows of a part
    python benchmarks/scale.py --share 0.001 --output tiny.json  # everything, a thousandth of the size

Each row of docs/benchmarks/scale.json is measured in a process of its own and written as soon as it is there, so that
the command goes on where it was stopped; `--again` measures rows anew. `make docs` makes the table and the figure of
docs/scale.md. Beauty's reviews come from the folder that HYBRIDVAE_DATA names.
"""

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

# Read on import, and by the processes that are started.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

from command import REPOSITORY, RESULTS, ROOT, command_typed
from watched import groups_can_be_made, measured

from hybridvae.errors import BadParameterError, HybridVAEError, in_one_sentence
from hybridvae.files import cache_folder, read_json, write_json
from hybridvae.memory import gigabytes
from hybridvae.progress import warn
from hybridvae.reporting.scaling import scale_table

ROWS = (1_000_000, 3_000_000, 10_000_000, 30_000_000)
ITEMS = (12_000, 100_000, 500_000)
READ_ROWS = 10_000_000  # at most: more tell nothing new of reading alone
ROWS_AN_ITEM = 50  # of the rows that are prepared
RAW_BYTES, TABLE_BYTES = 60, 500  # of a row: in the invented files; in the tables on the way and at the end
PROCESSES = (1, 2)
# Real data, and items drawn for a softmax beside what params.yaml says, which is more than ml-100k has items.
DATASETS: dict[str, tuple[int, ...]] = {"ml-100k": (300,), "beauty": ()}
LIMIT = 1_000_000_000  # bytes, of `memory`

# Of each part the file in `scaling` with a function of its name. `lines` in reporting/scaling.py makes its lines.
MODULES = {
    "prepare": "tables",
    "read": "tables",
    "epoch": "learning",
    "judge": "answering",
    "lists": "answering",
    "memory": "learning",
    "sampled": "learning",
    "processes": "together",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A row to be: its part, what the function of the part is called with, and its space on disk."""

    name: str
    part: str
    settings: dict[str, Any]
    disk: float = 0

    def is_in(self, rows: dict[str, Row]) -> bool:
        """Whether a row of these sizes is there."""
        return self.name in rows and rows[self.name]["settings"] == self.settings


def planned(rows: tuple[int, ...], items: tuple[int, ...], share: float) -> list[Work]:
    """All works, `share` of their size each."""

    def part(of: int, least: int = 100) -> int:
        return max(least, round(share * of))

    works = []
    read_rows = max((one for one in rows if one <= READ_ROWS), default=min(rows))
    for one in rows:
        sizes = {"rows": part(one, 2_000), "items": part(one // ROWS_AN_ITEM)}
        works.append(Work(f"prepare-{one}", "prepare", sizes, sizes["rows"] * (RAW_BYTES + TABLE_BYTES)))
        if one == read_rows:
            works.append(Work(f"read-{one}", "read", sizes, sizes["rows"] * (RAW_BYTES + TABLE_BYTES)))
    for one in items:
        works.append(Work(f"epoch-{one}", "epoch", {"positives": part(1_000_000), "items": part(one)}))
    works += [
        Work(f"judge-{items[-1]}", "judge", {"users": part(1_000, 50), "items": part(items[-1])}),
        Work("lists-100000", "lists", {"users": part(200_000), "items": part(100_000)}, part(200_000) * 300),
    ]
    for number in PROCESSES:
        sizes = {"processes": number, "positives": part(1_000_000), "items": part(100_000)}
        works.append(Work(f"processes-{number}", "processes", sizes))
    for model in REPOSITORY.params["models"]:
        sizes = {"model": model, "users": part(2_000), "items": part(100_000), "limit": LIMIT}
        works.append(Work(f"memory-{model}", "memory", sizes))
    for dataset, more in DATASETS.items() if share == 1 else ():  # real data have the size that they have
        for drawn in (*more, REPOSITORY.params["hybridvae"]["softmax_items"], 0):
            settings = {"dataset": dataset, "softmax_items": drawn}
            works.append(Work(f"sampled-{dataset}-{drawn}", "sampled", settings, 1e9))
    return works


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="How cost grows with rows and with items.")
    parser.add_argument("--only", metavar="NAME,...", help="these parts or rows alone (--list names them)")
    parser.add_argument(
        "--rows", type=_sizes, default=ROWS, metavar="N,...", help="prepared (default: up to 30 million)"
    )
    parser.add_argument("--items", type=_sizes, default=ITEMS, metavar="N,...", help="(default: 12,000 to 500,000)")
    parser.add_argument("--share", type=float, default=1.0, help="of each size, for a try (default: all)")
    parser.add_argument("--folder", type=Path, help="for data in between (default: one in the cache folder)")
    parser.add_argument("--output", type=Path, help="(default: docs/benchmarks/scale.json, of whole sizes)")
    parser.add_argument("--again", action="store_true", help="measure rows that are there already too")
    parser.add_argument("--list", action="store_true", help="only name the rows and say which are there")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)  # the process of a row
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends what was started
    with in_one_sentence("scale"):
        if not 0 < arguments.share <= 1:
            raise BadParameterError("--share must lie in (0, 1].")
        works = planned(arguments.rows, arguments.items, arguments.share)
        folder = arguments.folder or cache_folder() / "scale"
        if arguments.measure:
            name, file = arguments.measure
            work = next(work for work in works if work.name == name)
            function = getattr(import_module(f"scaling.{MODULES[work.part]}"), work.part)
            write_json(Path(file), function(folder, **work.settings))
            return
        output = arguments.output or (RESULTS / "scale.json" if arguments.share == 1 else None)
        wanted = chosen(works, arguments.only)
        rows: dict[str, Row] = read_json(output, "scale")["scale"] if output and output.is_file() else {}
        if arguments.list:
            for work in wanted:
                print(f"{work.name:24} {'measured' if work.is_in(rows) else 'to do'}")
            return
        failed = fill(rows, wanted, folder, output, again=arguments.again)
        print(scale_table({"scale": rows}))
        if failed:
            raise HybridVAEError(f"{', '.join(failed)} failed (see above): mend that and run this command again.")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(one) for one in text.split(",")))


def chosen(works: list[Work], only: str | None) -> list[Work]:
    """The works that `--only` names, by their names or parts.

    Raises:
        BadParameterError: it names none.
    """
    if only is None:
        return works
    names = only.split(",")
    known = {name for work in works for name in (work.name, work.part)}
    if unknown := [name for name in names if name not in known]:
        raise BadParameterError(f"--only names {', '.join(unknown)}: `--list` shows what there is.")
    return [work for work in works if work.name in names or work.part in names]


def fill(rows: dict[str, Row], works: list[Work], folder: Path, output: Path | None, *, again: bool) -> list[str]:
    """Measure what is missing, and write the file after each row; returns what failed, which was said."""
    todo = [work for work in works if again or not work.is_in(rows)]
    failed = []
    folder.mkdir(parents=True, exist_ok=True)
    for place, work in enumerate(todo):
        try:
            _check_disk(work, folder)
            rows[work.name] = measure(work, folder)
        except HybridVAEError as error:  # the others go on
            warn(f"{work.name}: {error}")
            failed.append(work.name)
            continue
        if output is not None:
            write_json(output, {"scale": rows})
        if not any(later.settings.get("rows") == work.settings.get("rows") for later in todo[place + 1 :]):
            shutil.rmtree(folder / f"rows-{work.settings.get('rows')}", ignore_errors=True)
    return failed


def _check_disk(work: Work, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if work.disk:
        print(
            f"scale: {work.name} takes up to {gigabytes(work.disk)} in {folder}, where {gigabytes(free)} are free",
            file=sys.stderr,
        )
    if work.disk > free:
        raise HybridVAEError(f"{folder} has too little space: free some, or name another folder with --folder.")


def measure(work: Work, folder: Path) -> Row:
    """A row, measured in a process of its own.

    Raises:
        HybridVAEError: it failed.
    """
    print(f"scale: {work.name}: {work.settings}", file=sys.stderr, flush=True)
    if "rows" in work.settings:  # invented before, in a process that does not count
        _invent(work, folder)
    limit = work.settings.get("limit")
    watched = limit is not None and not groups_can_be_made()
    os.environ.pop("SCALE_WATCHED", None)
    if watched:
        os.environ["SCALE_WATCHED"] = "1"
    with tempfile.TemporaryDirectory(dir=folder) as own:
        into = Path(own, "measured.json")
        ended = measured([*_command(folder), "--measure", work.name, str(into)], limit=limit)
        found = read_json(into, "seconds") if into.is_file() and not ended.code else None
    if found is None and ended.killed:
        found = {"seconds": ended.seconds, "outcome": "killed", "said": ""}
    if found is None:
        last = ended.said.strip().splitlines() or ["nothing"]
        raise HybridVAEError(f"it ended with exit code {ended.code} and said last: {last[-1][:300]}")
    if limit is not None:
        found["held_by"] = "watching" if watched else "a control group"
    seconds = found.pop("seconds")
    print(
        f"scale: {work.name}: {seconds:,.1f} s, peak {gigabytes(ended.peak)}, {found}; in all {ended.seconds:,.1f} s",
        file=sys.stderr,
        flush=True,
    )
    return {
        "part": work.part,
        "settings": work.settings,
        "measured": {key: round(one, 4) if isinstance(one, float) else one for key, one in found.items()},
        "seconds": round(seconds, 2),
        "whole_seconds": round(ended.seconds, 1),  # of the process, from its start, with what it prepared
        "processor_seconds": round(ended.processor, 1),  # of these
        "peak_mb": round(ended.peak / 1e6),
        "command": command_typed("scale"),
        "commit": REPOSITORY.git("rev-parse", "HEAD").strip(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "threads": os.environ["OMP_NUM_THREADS"],
    }


def _command(folder: Path) -> list[str]:
    """This command again, but for what says where the rows go."""
    own = [one for one in sys.argv[1:] if one != "--again"]
    for option in ("--output", "--only", "--folder"):
        while option in own:
            place = own.index(option)
            del own[place : place + 2]
        own = [one for one in own if not one.startswith(f"{option}=")]
    return [sys.executable, str(ROOT / "benchmarks" / "scale.py"), *own, "--folder", str(folder)]


def _invent(work: Work, folder: Path) -> None:
    rows, items = work.settings["rows"], work.settings["items"]
    into = folder / f"rows-{rows}"
    sizes = ["--rows", str(rows), "--items", str(items), "--seed", "1", "--out", str(into)]
    if measured([sys.executable, "-m", "hybridvae", "synthesize", *sizes]).code:
        raise HybridVAEError("its data could not be written (see above).")


if __name__ == "__main__":
    main()
