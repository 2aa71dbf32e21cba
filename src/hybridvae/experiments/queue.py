"""Runs on DVC's queue, waited for with a progress bar."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from io import StringIO

from tqdm import tqdm

from hybridvae.errors import HybridVAEError
from hybridvae.progress import progress
from hybridvae.repository import Repository

COPIED = "data/split"  # holds ratings, so is in no cache that a queued run could ask
_LOOK = 1.0  # seconds between looks at what is done, which cost nothing
_ASK = 10.0  # seconds between questions to the queue, which take a second of a core
_PATIENCE = 3  # questions with no worker alive before they are started again
_WAITING, _RUNNING, _FAILED = "Queued", "Running", "Failed"


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

        states, workers = self.states()
        if not workers and (orphans := [name for name in runs if states.get(name) == _RUNNING]):
            self.repository.dvc("queue", "kill", *orphans)  # their workers died; now they count as failed
            states, _ = self.states()
        if spent := [name for name in runs if states.get(name, _WAITING) not in (_WAITING, _RUNNING)]:
            self.repository.dvc("queue", "remove", *spent)
        missing = [name for name in runs if states.get(name) not in (_WAITING, _RUNNING)]
        for name in progress(missing, doing=f"{label}, queue", unit="runs"):
            values = [word for value in runs[name] for word in ("--set-param", value)]
            how = ["--queue", "--single-item", "--copy-paths", COPIED, "--name", name]
            with redirect_stdout(StringIO()):  # its errors go elsewhere
                refused = dvc(["--cd", str(self.repository.root), "exp", "run", *how, *values, target])
            if refused:
                raise HybridVAEError(f"DVC did not queue {name}: see above.")

    def work(
        self,
        names: list[str],
        *,
        jobs: int,
        threads: int,
        minutes: float | None,
        label: str,
        best: Callable[[str], float],
    ) -> dict[str, str]:
        """Start workers and wait until each of the runs is done, has failed, or the time is over.

        What runs when the time is over runs to its end. A failed run stops no other.

        Args:
            minutes: after which nothing new starts; None for no limit.
            best: the figure of a run that is done, of which the highest is shown.

        Returns:
            Name -> what the run said last, of those that failed.

        Raises:
            HybridVAEError: the workers ended, were started once more, and ended again with runs left.
        """
        start, asked, stalls = time.monotonic(), 0.0, 0
        waits, figures, failed = set(names), dict[str, float](), dict[str, str]()
        ended: set[str] = set()  # without an experiment, when the queue was last asked
        self._start(jobs, threads)
        with progress(doing=label, unit="runs", total=len(names)) as bar:
            try:
                while waits:
                    time.sleep(_LOOK)
                    if asks := time.monotonic() - asked > _ASK:
                        states, workers = self.states()
                        asked = time.monotonic()
                    # Looked at after the queue was asked: what ended before that has its experiment by now.
                    for name in waits & {experiment.name for experiment in self.repository.experiments()}:
                        figures[name] = best(name)
                    waits -= set(figures)
                    if asks:
                        gone = {name for name in waits if states.get(name) not in (_WAITING, _RUNNING)}
                        for name in gone & (ended | {name for name in gone if states.get(name) == _FAILED}):
                            failed[name] = self.last_words(name)
                            tqdm.write(f"{name} failed: {failed[name]}")
                        ended, waits = gone, waits - set(failed)
                        if minutes is not None and asked - start > 60 * minutes:
                            waits -= self._removed({name for name in waits if states.get(name) == _WAITING})
                        stalls = stalls + 1 if waits and not workers else 0
                        if stalls == _PATIENCE:
                            self._start(jobs, threads)
                        elif stalls > 2 * _PATIENCE:
                            raise HybridVAEError(
                                f"the workers of DVC's queue ended twice with {len(waits)} runs left: "
                                "`dvc queue logs NAME` may say why; the same command goes on from here."
                            )
                    bar.n = len(figures) + len(failed)
                    shown = {"failed": len(failed)} | ({"best": f"{max(figures.values()):.4f}"} if figures else {})
                    bar.set_postfix(shown, refresh=True)
            except KeyboardInterrupt:
                self._stop(waits)
                raise HybridVAEError(
                    f"stopped with {len(figures)} of {len(names)} runs done: the same command goes on from here."
                ) from None
        return failed

    def last_words(self, name: str) -> str:
        """What a run said at its end: its stage's sentence, or DVC's."""
        try:
            said = self.repository.dvc("queue", "logs", name)
        except HybridVAEError as error:  # it ended before it could say a word
            said = str(error)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        sentences = [line for line in lines if re.match(r"(fetch|clean|split|embed|validate): ", line)]
        return (sentences or lines or ["it said nothing"])[-1]

    def _start(self, jobs: int, threads: int) -> None:
        self.repository.dvc("queue", "start", "--jobs", str(jobs), threads=threads)

    def _removed(self, names: set[str]) -> set[str]:
        """The names, taken off the queue; none where one of them has started meanwhile, which DVC refuses whole."""
        try:
            if names:
                self.repository.dvc("queue", "remove", *sorted(names))
        except HybridVAEError:
            return set()
        return names

    def _stop(self, names: set[str]) -> None:
        states, _ = self.states()
        self._removed({name for name in names if states.get(name) == _WAITING})
        if running := sorted(name for name in names if states.get(name) == _RUNNING):
            with suppress(HybridVAEError):  # one has ended meanwhile
                self.repository.dvc("queue", "kill", *running)
