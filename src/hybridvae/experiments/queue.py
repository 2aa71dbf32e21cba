"""Submits runs to DVC's queue and waits for them with a progress bar."""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from hybridvae.errors import HybridVAEError
from hybridvae.progress import progress
from hybridvae.repository import Repository

_LOOK = 1.0  # seconds between looks at what is done, which cost nothing
_ASK = 10.0  # seconds between questions to the queue, which take a second of a core
_PATIENCE = 3  # questions with no worker alive before they are started again
_WAITING, _RUNNING, _FAILED = "Queued", "Running", "Failed"


class Run(NamedTuple):
    """What is queued: parameters to set, stages to run, and folders that the run's copy of the repository is given."""

    changes: Mapping[str, Any]
    targets: Sequence[str]
    folders: Sequence[str]


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

    def submit(self, runs: Mapping[str, Run], *, label: str) -> None:
        """Queue runs, each by its name; what waits or runs already stays.

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
            changes, targets, folders = runs[name]
            values = [word for key, value in changes.items() for word in ("--set-param", f"{key}={_value(value)}")]
            copied = [word for path in folders for word in ("--copy-paths", path)]
            how = ["--queue", "--single-item", *copied, "--name", name]
            with redirect_stdout(StringIO()), chdir(Path.cwd()):  # DVC leaves for the repository's folder
                refused = dvc(["--cd", str(self.repository.root), "exp", "run", *how, *values, *targets])
            if refused:
                raise HybridVAEError(f"DVC did not queue {name}: see above.")

    def work(
        self,
        runs: Mapping[str, Run],
        *,
        jobs: int,
        threads: int,
        label: str,
        unwanted: Callable[[set[str]], set[str]],
    ) -> dict[str, str]:
        """Start workers and wait until each of the runs is done, has failed, or is not wanted any more.

        What runs when it is not wanted any more runs to its end. A failed run stops no other.

        Args:
            unwanted: asked now and then, which of the runs that wait need not start.

        Returns:
            Name -> what the run said last, of those that failed.

        Raises:
            HybridVAEError: the workers ended, were started once more, and ended again with runs left.
        """
        asked, stalls = 0.0, 0
        waits, done, failed = set(runs), set[str](), dict[str, str]()
        ended: set[str] = set()  # without an experiment, when the queue was last asked
        self._start(jobs, threads)
        with progress(doing=label, unit="runs", total=len(runs)) as bar:
            try:
                while waits:
                    time.sleep(_LOOK)
                    if asks := time.monotonic() - asked > _ASK:
                        states, workers = self.states()
                        asked = time.monotonic()
                    # Looked at after the queue was asked: what ended before that has its experiment by now.
                    done |= waits & {experiment.name for experiment in self.repository.experiments()}
                    waits -= done
                    if asks:
                        gone = {name for name in waits if states.get(name) not in (_WAITING, _RUNNING)}
                        for name in gone & (ended | {name for name in gone if states.get(name) == _FAILED}):
                            failed[name] = self.last_words(name)
                            values = ", ".join(f"{key}={value}" for key, value in runs[name].changes.items())
                            tqdm.write(f"{name} ({values}) failed: {failed[name]}", file=sys.stderr)
                        ended, waits = gone, waits - set(failed)
                        waiting = {name for name in waits if states.get(name) == _WAITING}
                        waits -= self._removed(unwanted(waiting))
                        stalls = stalls + 1 if waits and not workers else 0
                        if stalls == _PATIENCE:
                            self._start(jobs, threads)
                        elif stalls > 2 * _PATIENCE:
                            raise HybridVAEError(
                                f"the workers of DVC's queue ended twice with {len(waits)} runs left: "
                                "`dvc queue logs NAME` may say why; the same command goes on from here."
                            )
                    bar.n = len(done) + len(failed)
                    bar.set_postfix(failed=len(failed), refresh=True)
            except KeyboardInterrupt:
                self._stop(waits)
                raise HybridVAEError(
                    f"stopped with {len(done)} of {len(runs)} runs done: the same command goes on from here."
                ) from None
        return failed

    def last_words(self, name: str) -> str:
        """What a run said at its end: its stage's sentence, or DVC's."""
        try:
            said = self.repository.dvc("queue", "logs", name)
        except HybridVAEError as error:  # it ended before it could say a word
            said = str(error)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        sentences = [line for line in lines if re.match(r"[a-z]+: ", line) and "; wrote " not in line]
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


def _value(value: Any) -> str:
    """A value as DVC's --set-param reads it, by the grammar of Hydra: a text in quotes, as what it is otherwise."""
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{quoted}'"
