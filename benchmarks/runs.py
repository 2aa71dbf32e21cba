"""Runs of one model with one configuration and one seed, by DVC, in clones of the repository."""

import json
import os
import shlex
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self, TypeVar

import yaml
from tqdm import tqdm

from hybridvae.errors import HybridVAEError
from hybridvae.files import cache_folder, read_yaml, write_text
from hybridvae.progress import progress

ROOT = Path(__file__).resolve().parent.parent
CACHE = cache_folder()
COMMITTED = ("src", "stages", "params.yaml", "dvc.yaml")  # what decides the outcome of a run
Block = dict[str, Any]
T = TypeVar("T")


def parse(parser: ArgumentParser, name: str) -> Namespace:
    """The arguments of the command `name`, which runs seeds on a data set: the parser's own and these three."""
    parser.add_argument("dataset", help="one of the sources of params.yaml")
    parser.add_argument("--seeds", type=int, default=5, help="of models that draw (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: %(default)s)")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.jobs) < 1:
        sys.exit(f"{name}: --seeds and --jobs must be at least 1.")
    return arguments


def command_typed(name: str) -> str:
    """How `name` was called, for its report."""
    return shlex.join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])


@dataclass(frozen=True)
class Run:
    """One model with one configuration and one seed."""

    model: str
    parameters: str  # the model's whole block as JSON, which is hashable
    seed: int
    others: str = "{}"  # other blocks of params.yaml, whole, as JSON

    @classmethod
    def of(cls, model: str, block: Block, seed: int, others: Block | None = None) -> Self:
        """A run of a block of parameters, with other blocks than those committed where `others` has them."""
        return cls(model, json.dumps(block, sort_keys=True), seed, json.dumps(others or {}, sort_keys=True))

    @property
    def block(self) -> Block:
        """The model's whole block of parameters."""
        block: Block = json.loads(self.parameters)
        return block


class Workspace:
    """A clone of the committed repository, for one run at a time; it shares the cache of the original."""

    def __init__(self, number: int, dataset: str, strategy: str, threads: int) -> None:
        self.folder = CACHE / "benchmark" / f"{dataset}-{strategy}-{number}"
        self._environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HYBRIDVAE_CACHE": str(CACHE)}
        if not (self.folder / ".git").exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._do("git", "clone", "--quiet", str(ROOT), str(self.folder), where=ROOT)
        self._do("git", "fetch", "--quiet", "origin", "HEAD")
        self._do("git", "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        self._do("dvc", "cache", "dir", "--local", str(ROOT / ".dvc" / "cache"))
        self._params = read_yaml(self.folder / "params.yaml")
        self._params["dataset"] = dataset
        self._params["split"]["strategy"] = strategy
        self._write_params({})
        self._do("dvc", "repro", "embed")

    def run(self, run: Run, stages: Iterable[str]) -> None:
        """Run stages, those that are there once for each model for the run's model.

        What is in the run cache comes from there.

        Raises:
            HybridVAEError: a stage failed; the message ends with what it said.
        """
        self._write_params(json.loads(run.others) | {run.model: run.block, "seed": run.seed})
        targets = (stage if stage == "embed" else f"{stage}@{run.model}" for stage in stages)
        self._do("dvc", "repro", "--single-item", *targets)

    def _write_params(self, changes: dict[str, Any]) -> None:
        write_text(self.folder / "params.yaml", yaml.safe_dump(self._params | changes, sort_keys=False))

    def _do(self, *command: str, where: Path | None = None) -> None:
        try:
            done = subprocess.run(
                command, cwd=where or self.folder, env=self._environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise HybridVAEError(f"there is no {command[0]} here: activate .venv, or use make.") from None
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise HybridVAEError(f"`{' '.join(command)}` failed in {self.folder}: {' / '.join(said[-4:])}")


class Workspaces:
    """Several runs at a time, each in a workspace of its own."""

    def __init__(self, dataset: str, strategy: str, jobs: int) -> None:
        changed = ["git", "diff", "--quiet", "HEAD", "--", *COMMITTED]
        if subprocess.run(changed, cwd=ROOT, check=False).returncode:
            raise HybridVAEError(f"commit your changes of {', '.join(COMMITTED)} first: what is committed is run.")
        self.commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
        self.jobs = jobs
        self.threads = max(1, (os.cpu_count() or 1) // jobs)
        self._free: SimpleQueue[Workspace] = SimpleQueue()
        for number in range(jobs):
            workspace = Workspace(number, dataset, strategy, self.threads)
            self._free.put(workspace)
        self.clean, self.split = (workspace.folder / "data" / stage / dataset for stage in ("clean", "split"))

    def each(
        self,
        label: str,
        runs: list[Run],
        stages: tuple[str, ...],
        collect: Callable[[Path, Run], T],
        *,
        wanted: Callable[[Run], bool] = lambda run: True,
    ) -> Iterator[tuple[Run, T]]:
        """`collect(folder, run)` of each run as it ends; failed runs are named and left out.

        Args:
            wanted: asked right before a run starts.
        """

        def one(run: Run) -> tuple[Run, T] | None:
            workspace = self._free.get()
            try:
                if not wanted(run):
                    return None
                workspace.run(run, stages)
                return run, collect(workspace.folder, run)
            except HybridVAEError as error:
                tqdm.write(f"{label}: {run.model} {run.parameters}, seed {run.seed}: {error}", file=sys.stderr)
                return None
            finally:
                self._free.put(workspace)

        with (
            ThreadPoolExecutor(self.jobs) as pool,
            progress(doing=label, unit="runs", total=len(runs)) as bar,
        ):
            for future in as_completed([pool.submit(one, run) for run in runs]):
                bar.update()
                if (result := future.result()) is not None:
                    yield result


def seconds_of(stage: str, run: Run, dataset: str, strategy: str, threads: int) -> float | None:
    """Seconds that a stage's run last took on so many threads of this machine, from costs.jsonl; None if never."""
    found = None
    if (CACHE / "costs.jsonl").exists():
        for line in (CACHE / "costs.jsonl").read_text(encoding="utf-8").splitlines():
            cost = json.loads(line)
            what = (cost["stage"], cost["model"], cost["seed"], cost["dataset"], cost["split"], cost["threads"])
            if (
                what == (stage, run.model, run.seed, dataset, strategy, str(threads))
                and cost["parameters"] == run.block
            ):
                found = float(cost["seconds"])
    return found
