"""This project beside the libraries that a user would pick instead: the same works, in turn, on the same split.

    python benchmarks/peers/measure.py beauty                              # everything: about forty minutes on 2 cores
    python benchmarks/peers/measure.py beauty --only multvae,ease --runs 1

Each work is done by one program a library (`with_<library>.py`), in a process of its own, with the same parameters and
threads. Peers run in the environment `.venv-peers`, which `make peers` makes from `requirements.lock` beside this file.
Their scores are judged here, by the same judge and against the same targets as the models of this project. Every row
is written to docs/benchmarks/peers.json at once; what stands there of the same request and code
is not measured again.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from joblib import cpu_count  # type: ignore[import-untyped]  # knows the limits of containers
from protocol import Data, Request
from works import NOT_MEASURED, WORKS

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.costs import processor_name
from hybridvae.data.interactions import Interactions, Targets, read_interactions, read_targets
from hybridvae.data.sources import declared
from hybridvae.dependencies import fingerprint, model_file
from hybridvae.errors import BadParameterError, HybridVAEError, UnreadableFileError, in_one_sentence
from hybridvae.evaluation.judge import Scores, validation_ndcg
from hybridvae.experiments.workspace import workspace
from hybridvae.files import read_json, write_json
from hybridvae.repository import Repository

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
IN_OUR_ENVIRONMENT = ("hybridvae", "scipy", "dvc")
Row = dict[str, Any]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="The same works here and in other libraries.")
    parser.add_argument("dataset", help="one of those that sources.yaml declares")
    parser.add_argument("--only", default=",".join(WORKS), metavar="WORKS", help="of %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="at most so many of each work (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="at most so many of each fit, to try it out")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="of every library (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="measure anew what stands in the results")
    parser.add_argument("--note", default="", help="for the page, such as what else the machine did")
    parser.add_argument("--peers-python", type=Path, default=PEERS_PYTHON, help="of the peers' environment")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "benchmarks" / "peers.json")
    arguments = parser.parse_args()
    with in_one_sentence("peers"):
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Measure what is asked for, and write the results.

    Raises:
        HybridVAEError: an argument is wrong, the environment is missing, or a program failed; the others were run.
    """
    works = named(arguments.only)
    if min(arguments.runs, arguments.threads, arguments.epochs) < 1:
        raise BadParameterError("--runs, --threads and --epochs must be at least 1.")
    if not arguments.peers_python.exists():
        raise UnreadableFileError(f"{arguments.peers_python} is not there: `make peers DATASET=...` makes it.")
    repository = Repository(ROOT)
    declared(repository.catalogue, arguments.dataset)
    results = Results.read(arguments.results, arguments.dataset)
    with workspace(repository, arguments.dataset, "temporal") as clone, TemporaryDirectory() as folder:
        split = clone.root / "data" / "split" / arguments.dataset / "fit"
        vectors = clone.root / "data" / "embed" / arguments.dataset / "items.safetensors"
        report = results.report
        report["command"] = shlex.join(["python", "benchmarks/peers/measure.py", arguments.dataset])
        report |= {"commit": clone.copied_head(), "processor": processor_name(), "cores": cpu_count()}
        report |= {"threads": arguments.threads, "not_measured": NOT_MEASURED, "note": arguments.note}
        report["works"] = {
            name: asdict(work) | {"parameters": work.parameters(clone.params)} for name, work in WORKS.items()
        }
        bench = Bench.of(split, vectors, Path(folder), arguments.peers_python)
        for name, library, run in plan(works, arguments.runs):
            work = WORKS[name]
            parameters, epochs = work.parameters(clone.params), min(work.epochs, arguments.epochs)
            asked = {"parameters": parameters, "threads": arguments.threads, "epochs": epochs}
            same = {"asked": asked, "code": code_of(name, library)}
            borrowed = dict(work.borrowed).get(library)
            if results.has(name, library, run, same) and not borrowed and not arguments.again:
                continue
            print(f"peers: {name}, {library}, run {run}", flush=True)
            try:
                row = results.summed(borrowed, library, run) if borrowed else bench.row(name, library, asked)
                results.add(name, library, run, row | {"commit": report["commit"]} | same)
            except HybridVAEError as error:
                report["failed"][f"{name}, {library}"] = str(error)
                results.write()
                print(f"peers: {error}", file=sys.stderr)
    results.write()
    if failed := [key for key in report["failed"] if key.partition(",")[0] in works]:
        raise HybridVAEError(f"not measured: {'; '.join(failed)} (see above); the rest is in {arguments.results}.")
    print(f"peers: wrote {arguments.results}; `make docs` writes docs/performance.md from it")


def named(only: str) -> list[str]:
    """The works of a list with commas, in the order of `WORKS`.

    Raises:
        BadParameterError: one is unknown.
    """
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in WORKS]:
        raise BadParameterError(f"there is no work {', '.join(unknown)}: choose of {', '.join(WORKS)}.")
    return [name for name in WORKS if name in wanted]


def plan(works: list[str], runs: int) -> Iterator[tuple[str, str, int]]:
    """Work, library and run, in turn: every library once, then every library again."""
    for name in works:
        for run in range(1, min(runs, WORKS[name].runs) + 1):
            for library in WORKS[name].libraries:
                yield name, library, run


def code_of(work: str, library: str) -> str:
    """A hash over a library's program and what it imports of this project, the model included."""
    models = [model_file(WORKS[work].block)] if library == "hybridvae" else []
    return fingerprint(FOLDER / f"with_{library}.py", *models)


@dataclass(frozen=True)
class Results:
    """What docs/benchmarks/peers.json holds, and its file."""

    path: Path
    report: dict[str, Any]

    @classmethod
    def read(cls, path: Path, dataset: str) -> "Results":
        """Those of earlier calls, or none.

        Raises:
            UnreadableFileError: they are of another data set.
        """
        if not path.exists():
            return cls(path, {"dataset": dataset, "works": {}, "rows": [], "failed": {}})
        report = read_json(path, "dataset", "works", "rows", "failed")
        if report["dataset"] != dataset:
            raise UnreadableFileError(f"{path} is of {report['dataset']}: move it away to measure on {dataset}.")
        kept = [row for row in report["rows"] if row["library"] in getattr(WORKS.get(row["work"]), "libraries", ())]
        report["rows"] = kept  # of works and libraries that there still are
        return cls(path, report)

    def find(self, work: str, library: str, run: int) -> Row | None:
        """The row of these three."""
        rows: list[Row] = self.report["rows"]
        return next((row for row in rows if (row["work"], row["library"], row["run"]) == (work, library, run)), None)

    def has(self, work: str, library: str, run: int, same: Row) -> bool:
        """Whether these three were measured, and in a row that has all of `same`: the request and the code."""
        row = self.find(work, library, run)
        return row is not None and json.loads(json.dumps(same)).items() <= row.items()

    def summed(self, work: str, library: str, run: int) -> Row:
        """The row of another work, its seconds added up.

        Raises:
            HybridVAEError: it was not measured.
        """
        if (row := self.find(work, library, run)) is None:
            raise HybridVAEError(f"run {run} of {work} with {library} is needed: measure {work} first.")
        return row | {"seconds": [sum(row["seconds"])]}

    def add(self, work: str, library: str, run: int, row: Row) -> None:
        """Put a row in the place of the one before, and write the file."""
        if (old := self.find(work, library, run)) is not None:
            self.report["rows"].remove(old)
        self.report["rows"].append(row | {"work": work, "library": library, "run": run})
        self.report["failed"].pop(f"{work}, {library}", None)
        self.write()

    def write(self) -> None:
        """Write the file, atomically, its rows in the order of the works."""
        order = list(WORKS)
        self.report["rows"].sort(
            key=lambda row: (order.index(row["work"]), row["run"], WORKS[row["work"]].libraries.index(row["library"]))
        )
        write_json(self.path, self.report)


@dataclass(frozen=True)
class Bench:
    """One split in the forms that the programs read, and what judges their scores."""

    split: Path
    vectors: Path
    folder: Path
    peers_python: Path
    interactions: Interactions
    targets: Targets

    @classmethod
    def of(cls, split: Path, vectors: Path, folder: Path, peers_python: Path) -> "Bench":
        """Read the split, and write it for the peers."""
        interactions, targets = read_interactions(split, upto="train"), read_targets(split)
        training_pairs(interactions, targets).write(folder / "interactions.npz")
        return cls(split, vectors, folder, peers_python, interactions, targets)

    def row(self, work: str, library: str, asked: Mapping[str, Any]) -> Row:
        """What the program of a library answers, with the judge's figure of its scores.

        Raises:
            HybridVAEError: the program failed.
        """
        with TemporaryDirectory(dir=self.folder) as folder:
            request = Request(
                work=work,
                folder=folder,
                data=str(self.folder / "interactions.npz"),
                split=str(self.split),
                vectors=str(self.vectors),
                **asked,
            )
            python = Path(sys.executable) if library in IN_OUR_ENVIRONMENT else self.peers_python
            row = ask(python, FOLDER / f"with_{library}.py", request)
            if scores := row.pop("scores", None):
                row["ndcg@10"] = validation_ndcg(
                    read_scores(scores, self.interactions), self.interactions, self.targets
                )
            return row


def training_pairs(interactions: Interactions, targets: Targets) -> Data:
    """The positives as pairs, each user's in the order of time, and the targets."""
    histories = interactions.histories.tocoo()
    order = np.lexsort((-histories.data, histories.row))  # the age of the latest is 1
    return Data(
        interactions.n_users,
        interactions.n_items,
        histories.row[order].astype(np.int64),
        histories.col[order].astype(np.int64),
        np.asarray(targets.users, np.int64),
        np.asarray(targets.items, np.int64),
    )


def ask(python: Path, program: Path, request: Request) -> Row:
    """Run a program in its folder, and return its answer.

    Raises:
        HybridVAEError: it failed; the last line that it wrote says why.
    """
    folder = Path(request.folder)
    write_json(folder / "request.json", asdict(request))
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(request.threads)
    )
    command = [str(python), str(program), str(folder / "request.json"), str(folder / "answer.json")]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | threads, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode or not (folder / "answer.json").exists():
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1][:300]
        raise HybridVAEError(f"{program.name} failed at {request.work} ({said}).")
    answer: Row = read_json(folder / "answer.json", "seconds", "versions")
    return answer


def read_scores(path: str, interactions: Interactions) -> Scores:
    """What a program wrote, as the judge asks for it."""
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, FloatArray] = dict(stored)

    def scores(users: IntArray) -> FloatArray:
        if "weights" in arrays:
            return np.asarray(interactions.positives[users] @ arrays["weights"], np.float32)
        return arrays["users"][users] @ arrays["items"].T

    return scores


if __name__ == "__main__":
    main()
