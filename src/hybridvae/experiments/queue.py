"""Runs on DVC's queue, waited for with a progress bar."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm

from hybridvae.errors import HybridVAEError
from hybridvae.experiments.repository import Repository

COPIED = "data/split"  # holds ratings, so is in no cache that a queued run could ask
_LOOK = 1.0  # seconds between looks at what is done, which cost nothing
_ASK = 10.0  # seconds between questions to the queue, which take a second of a core
_WAITING, _RUNNING, _FAILED = "Queued", "Running", "Failed"


@dataclass(frozen=True)
class Outcome:
    """How a queue ended.

    Attributes:
        failed: name -> what the run said last.
        left: names that were taken off the queue when the time was over.
    """

    failed: dict[str, str]
    left: list[str]


class Queue:
    """DVC's experiment queue of a repository."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def states(self) -> tuple[dict[str, str], int]:
        """Name -> state of every task of the queue, and the number of workers that are alive."""
        said = self.repository.dvc("queue", "status")
        tasks = re.findall(r"^[0-9a-f]{7} +(\S+) .* (Queued|Running|Success|Failed|Killed) *$", said, re.MULTILINE)
        workers = re.search(r"(\d+) active, (\d+) idle", said)
        return dict(tasks), int(workers[1]) + int(workers[2]) if workers else 0

    def submit(self, runs: Mapping[str, list[str]], target: str, *, label: str) -> None:
        """Queue runs of the target alone, each a name -> `--set-param` values; what waits or runs already stays.

        Raises:
            HybridVAEError: DVC refused one, for instance since git knows no user.
        """
        from dvc.cli import main as dvc  # a process for each would take a second more

        states, _ = self.states()
        if spent := [name for name in runs if states.get(name, _WAITING) not in (_WAITING, _RUNNING)]:
            self.repository.dvc("queue", "remove", *spent)
        missing = [name for name in runs if states.get(name) not in (_WAITING, _RUNNING)]
        for name in tqdm(missing, desc=f"{label}, queueing", unit=" runs", disable=None):
            values = [word for value in runs[name] for word in ("--set-param", value)]
            how = ["--quiet", "--queue", "--single-item", "--copy-paths", COPIED, "--name", name]
            if dvc(["--cd", str(self.repository.root), "exp", "run", *how, *values, target]):
                raise HybridVAEError(f"DVC refused to queue {name}: see above.")

    def work(
        self,
        names: list[str],
        *,
        jobs: int,
        threads: int,
        minutes: float | None,
        label: str,
        best: Callable[[str], float],
    ) -> Outcome:
        """Start workers and wait until each of the runs is done, has failed, or the time is over.

        What runs when the time is over runs to its end. A failed run stops no other.

        Args:
            minutes: after which nothing new starts; None for no limit.
            best: the figure of a run that is done, of which the highest is shown.

        Raises:
            HybridVAEError: the workers ended, were started once more, and ended again with runs left.
        """
        start, asked, restarts = time.monotonic(), 0.0, 0
        failed: dict[str, str] = {}
        left: list[str] = []
        figures: dict[str, float] = {}
        self._start(jobs, threads)
        with tqdm(total=len(names), desc=label, unit=" runs", disable=None, smoothing=0.0) as bar:
            try:
                while len(figures) + len(failed) + len(left) < len(names):
                    time.sleep(_LOOK)
                    here = {experiment.name for experiment in self.repository.experiments()}
                    for name in names:
                        if name in here and name not in figures:
                            figures[name] = best(name)
                    if time.monotonic() - asked > _ASK:
                        states, workers = self.states()
                        asked = time.monotonic()
                        for name in names:
                            if states.get(name) == _FAILED and name not in failed and name not in figures:
                                failed[name] = self.last_words(name)
                                tqdm.write(f"{name} failed: {failed[name]}")
                        waiting = [name for name in names if states.get(name) == _WAITING]
                        if minutes is not None and asked - start > 60 * minutes and waiting:
                            self.repository.dvc("queue", "remove", *waiting)
                            left += waiting
                        elif waiting and not workers:
                            if restarts == 1:
                                raise HybridVAEError(
                                    f"the workers of DVC's queue ended twice with {len(waiting)} runs left: "
                                    "`dvc queue logs NAME` may say why; the same command goes on from here."
                                )
                            restarts += 1
                            self._start(jobs, threads)
                    bar.n = len(figures) + len(failed)
                    shown = {"failed": len(failed)} | ({"best": f"{max(figures.values()):.4f}"} if figures else {})
                    bar.set_postfix(shown, refresh=True)
            except KeyboardInterrupt:
                self._stop(names)
                raise HybridVAEError(
                    f"stopped with {len(figures)} of {len(names)} runs done: the same command goes on from here."
                ) from None
        return Outcome(failed, left)

    def last_words(self, name: str) -> str:
        """What a run said at its end: its stage's sentence, or DVC's."""
        lines = [line.strip() for line in self.repository.dvc("queue", "logs", name).splitlines() if line.strip()]
        sentences = [line for line in lines if re.match(r"(fetch|clean|split|embed|validate): ", line)]
        return (sentences or lines or ["it said nothing"])[-1]

    def _start(self, jobs: int, threads: int) -> None:
        self.repository.dvc("queue", "start", "--jobs", str(jobs), threads=threads)

    def _stop(self, names: list[str]) -> None:
        states, _ = self.states()
        for command, state in (("remove", _WAITING), ("kill", _RUNNING)):
            if chosen := [name for name in names if states.get(name) == state]:
                self.repository.dvc("queue", command, *chosen)
