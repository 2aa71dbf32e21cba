"""Try to break the product: spoilt input, senseless parameters, kills, shared caches, damage, hostile requests.

    python benchmarks/torture.py                                             # all of it
    python benchmarks/torture.py --only intake,parameters --share 0.01       # a hundredth of two parts
    python benchmarks/torture.py --only intake --case 4711                   # one case again

What a case does follows from the seed and its number, but for the moments of kills. The outcome goes to
`docs/benchmarks/torture.json` and the page beside it, a row for each part as soon as the part has ended; of a share or
of single cases it is printed only. Exit code 1 if there are faults.
"""

import argparse
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# Read on import, and by the processes that are started: threads of one would wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from command import REPOSITORY, RESULTS, command_typed

from hybridvae.errors import HybridVAEError
from hybridvae.files import read_json, write_json, write_text
from hybridvae.progress import name_stage, progress
from hybridvae.reporting.documents import torture_page, torture_table

PARTS = ("intake", "parameters", "kills", "fits", "damage", "service")
SHOWN = 10  # kinds of faults that the page lists of a part


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description="Try to break the product, and count what breaks.")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,...", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is tried (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of each part's cases (default: all)")
    parser.add_argument("--case", type=int, action="append", help="try these alone, by number")
    parser.add_argument("--output", type=Path, help="(default: docs/benchmarks/torture.json, of whole parts)")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        sys.exit(f"torture: there is no part {', '.join(unknown)}: there are {', '.join(PARTS)}.")
    if not 0 < arguments.share <= 1:
        sys.exit("torture: --share must lie in (0, 1].")
    output = arguments.output
    if output is None and arguments.share == 1 and not arguments.case:
        output = RESULTS / "torture.json"
    chosen: dict[str, Any] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends what was started, and removes its folders
    with tempfile.TemporaryDirectory(prefix="hybridvae-torture-") as folder:
        for name in names:
            total = import_module(f"faults.{name}").CASES
            cases = arguments.case or range(max(1, round(total * arguments.share)))
            try:
                chosen[name] = tried(name, cases, arguments.seed, Path(folder))
            except HybridVAEError as error:
                sys.exit(f"torture: {name}: {error}")
            if output is not None:
                _keep(output, name, chosen[name])
    print(torture_table({"parts": chosen}))
    for name, row in chosen.items():
        for kind in row["kinds"]:
            print(f"{name}: {kind['count']} x {kind['kind']}, e.g. --case {kind['case']}: {kind['said']}")
    if found := sum(row["faults"] for row in chosen.values()):
        sys.exit(f"torture: {found} faults.")


def _keep(output: Path, name: str, row: dict[str, Any]) -> None:
    """Put a row in its place among those of other parts, which other runs may have made."""
    rows = read_json(output)["parts"] if output.is_file() else {}
    rows[name] = row
    report = {"parts": {part: rows[part] for part in PARTS if part in rows}}
    write_json(output, report)
    if output == RESULTS / "torture.json":
        write_text(RESULTS / "torture.md", torture_page(report))


def tried(name: str, cases: Sequence[int], seed: int, work: Path) -> dict[str, Any]:
    """The row of a part: what was tried, how long it took, and the kinds of faults, the most frequent first."""
    part = import_module(f"faults.{name}")
    name_stage(f"torture {name}")
    start, used = time.perf_counter(), _processor_seconds()
    kinds: dict[str, dict[str, Any]] = {}
    done: set[int] = set()
    outcomes: Counter[str] = Counter()
    with progress(doing="try", unit="cases", total=len(cases)) as bar:
        for case, came in part.run(cases, seed, work):
            bar.update(int(case not in done))
            done.add(case)
            outcomes[came.outcome] += int(bool(came.outcome))
            for fault in came.faults:
                kind = kinds.setdefault(fault.kind, {"kind": fault.kind, "count": 0, "case": case, "said": fault.said})
                kind["count"] += 1
                if kind["count"] == 1:
                    bar.write(f"torture {name}: case {case}: {fault.kind}: {fault.said}", file=sys.stderr)
                if case < kind["case"]:
                    kind |= {"case": case, "said": fault.said}
    ordered = sorted(kinds.values(), key=lambda kind: (-kind["count"], kind["kind"]))
    row = {
        "tried": part.TRIED,
        "counts": part.COUNTS,
        "cases": len(done),
        "outcomes": dict(sorted((+outcomes).items())),
        "faults": sum(kind["count"] for kind in ordered),
        "kinds": ordered[:SHOWN],
        "more_kinds": max(0, len(ordered) - SHOWN),
        "seed": seed,
        "command": command_typed("torture"),
        "commit": REPOSITORY.git("rev-parse", "HEAD").strip(),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(_processor_seconds() - used, 1),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
    }
    print(
        f"torture {name}: {len(done)} cases, {row['faults']} faults in {row['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return row


def _processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
