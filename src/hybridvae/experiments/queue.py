"""Submits runs to DVC's queue and waits for them with a progress bar."""

import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]
from tqdm import tqdm

from hybridvae.errors import HybridVAEError
from hybridvae.files import write_json
from hybridvae.progress import progress
from hybridvae.repository import Repository

_LOOK = 1.0  # seconds between looks at what is done, which cost nothing
_GLANCE = 0.2  # and at what has been stopped
_ASK = 10.0  # seconds between questions to the queue, which take a second of a core or more ...
_ASK_TIMES = 8  # ... and at least so many times what the last one took
_PATIENCE = 3  # questions in a row with no worker alive, before all begins anew
_IDLE_PATIENCE = 12  # and with workers of which none works on a run
_GRACE = 60.0  # seconds in which runs that are stopped, and their workers, may end by themselves
_WAITING, _RUNNING, _FAILED, _KILLED = "Queued", "Running", "Failed", "Killed"

_Tasks = dict[str, tuple[str, str]]  # name -> number and state


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
        tasks, workers = self._tasks()
        return _states(tasks), workers

    def submit(self, runs: Mapping[str, Run], *, label: str) -> None:
        """Queue runs, each by its name; what waits or runs already stays.

        Raises:
            HybridVAEError: DVC refused one, for instance since git knows no user.
        """
        from dvc.cli import main as dvc  # a process for each would take a second more

        states, workers = self.states()
        if not workers:
            states = self._without_orphans(states, runs)
        if spent := [name for name in runs if states.get(name, _WAITING) not in (_WAITING, _RUNNING)]:
            self.repository.dvc("queue", "remove", *spent)
        missing = [name for name in runs if states.get(name) not in (_WAITING, _RUNNING)]
        for name in progress(missing, doing=f"{label}, queue", unit="runs"):
            changes, targets, folders = runs[name]
            values = [word for key, value in changes.items() for word in ("--set-param", f"{key}={_value(value)}")]
            copied = [word for path in folders for word in ("--copy-paths", path)]
            how = ["--queue", "--single-item", *copied, "--name", name]
            # DVC leaves for the repository's folder, and must not be stopped halfway.
            with _uninterrupted(), redirect_stdout(StringIO()), chdir(Path.cwd()):
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
            HybridVAEError: the workers ended, or worked no more, were started once more, and did so again with runs
                left; or this was interrupted.
        """
        next_question, stalls, again = 0.0, 0, False
        waits, done, failed = set(runs), set[str](), dict[str, str]()
        ended: set[str] = set()  # without an experiment, when the queue was last asked
        with progress(doing=label, unit="runs", total=len(runs)) as bar:
            try:
                self._start(jobs, threads)
                while waits:
                    time.sleep(_LOOK)
                    asked = time.monotonic()
                    if asks := asked > next_question:
                        tasks, workers = self._tasks()
                        states = _states(tasks)
                        answered = time.monotonic()
                        next_question = answered + max(_ASK, _ASK_TIMES * (answered - asked))
                    # Looked at after the queue was asked: what ended before that has its experiment by now.
                    done |= waits & {experiment.name for experiment in self.repository.experiments()}
                    waits -= done
                    if asks:
                        gone = {name for name in waits if states.get(name) not in (_WAITING, _RUNNING)}
                        for name in gone & (ended | {name for name in gone if states.get(name) == _FAILED}):
                            failed[name] = self.last_words(name)
                            values = ", ".join(f"{key}={value}" for key, value in runs[name].changes.items())
                            tqdm.write(f"{name} ({values}) failed: {failed[name]}", file=sys.stderr)
                            tqdm.write(f"all that it said: {self._typed('queue', 'logs', name)}", file=sys.stderr)
                        ended, waits = gone, waits - set(failed)
                        waiting = {name for name in waits if states.get(name) == _WAITING}
                        waits -= self._removed(unwanted(waiting))
                        numbers = {number for name, (number, _) in tasks.items() if name in waits}
                        stalls = 0 if not waits or self._processes(numbers, workers=False) else stalls + 1
                        if stalls > (_IDLE_PATIENCE if workers else _PATIENCE):
                            if again:
                                raise HybridVAEError(
                                    f"the workers of DVC's queue ended or stood idle twice with {len(waits)} runs "
                                    f"left: `{self._typed('queue', 'logs', 'NAME')}` may say why; "
                                    "the same command goes on from here."
                                )
                            stalls, again = 0, True
                            self.stop(waits)
                            self.submit({name: runs[name] for name in runs if name in waits}, label=label)
                            self._start(jobs, threads)
                    bar.n = len(done) + len(failed)
                    bar.set_postfix(failed=len(failed), refresh=True)
            except KeyboardInterrupt:
                tqdm.write(f"{label}: stopping what runs, which takes some seconds", file=sys.stderr)
                self.stop(set(runs))
                raise HybridVAEError(
                    f"stopped with {len(done)} of {len(runs)} runs done, and those that ran stopped too: "
                    "the same command goes on from here, each fit from its last epoch."
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

    def stop(self, names: set[str]) -> None:
        """Take runs off the queue, whether they wait or run, and end its workers unless other runs are in it."""
        with _uninterrupted():
            tasks, _ = self._tasks()
            self._removed({name for name in names if name in tasks and tasks[name][1] == _WAITING})
            numbers = {number for name, (number, _) in tasks.items() if name in names}
            alone = not any(name not in names and state in (_WAITING, _RUNNING) for name, (_, state) in tasks.items())
            if alone:
                self.repository.dvc("queue", "stop")  # its workers end once what they run has ended
            until, interrupted = time.monotonic() + _GRACE, set[psutil.Process]()
            while (there := self._processes(numbers, workers=alone)) and time.monotonic() < until:
                for process in there - interrupted:
                    with suppress(psutil.Error):
                        if "queue-worker" not in process.cmdline():
                            process.send_signal(signal.SIGINT)
                            interrupted.add(process)
                time.sleep(_GLANCE)
            for process in there:
                with suppress(psutil.Error):
                    process.kill()
            self.repository.mend()
            states, _ = self.states()
            if alone:
                states = self._without_orphans(states, names)
            self._removed({name for name in names if states.get(name) in (_WAITING, _FAILED, _KILLED)})

    def _without_orphans(self, states: dict[str, str], names: Iterable[str]) -> dict[str, str]:
        """The states, once those of the names that run count as failed; asked where no worker is alive."""
        if orphans := [name for name in names if states.get(name) == _RUNNING]:
            tasks, _ = self._tasks()
            for name in orphans:
                self._note_death(tasks[name][0])
            self.repository.dvc("queue", "kill", *orphans)
            states, _ = self.states()
        return states

    def _note_death(self, number: str) -> None:
        """Note in DVC's file of a task's process that it has ended, if it has.

        Where nobody asks for the exit codes of orphans, as in a container without an init, they stay as zombies, which
        DVC takes for alive. And the number of a process may be another's by now, to whom DVC would send its signal.
        """
        for file in (self.repository.root / ".dvc/tmp/exps/run").glob(f"{number}*/{number}*.json"):
            with suppress(OSError, ValueError):
                known = json.loads(file.read_text(encoding="utf-8"))
                with suppress(psutil.Error):
                    process = psutil.Process(known["pid"])
                    if process.status() != psutil.STATUS_ZOMBIE and "exec-run" in process.cmdline():
                        continue
                write_json(file, known | {"returncode": -9})

    def _tasks(self) -> tuple[_Tasks, int]:
        """Name -> number and state of every task of the queue, and the number of workers that are alive."""
        said = self.repository.dvc("queue", "status")
        found = re.findall(r"^([0-9a-f]{7}) +(\S+) .* (Queued|Running|Success|Failed|Killed) *$", said, re.MULTILINE)
        workers = re.search(r"(\d+) active, (\d+) idle", said)
        tasks = {name: (number, state) for number, name, state in found}
        return tasks, int(workers[1]) + int(workers[2]) if workers else 0

    def _processes(self, numbers: set[str], *, workers: bool) -> "set[psutil.Process]":
        """The processes of the tasks of these numbers, and with `workers` those of the queue."""
        found = set()
        for file in (self.repository.root / ".dvc/tmp/exps/celery").glob("dvc-exp-worker-*.pid"):
            with suppress(psutil.Error, ValueError):
                worker = psutil.Process(int(file.read_text()))
                if "queue-worker" not in worker.cmdline():
                    continue  # it has ended, and its number is another's now
                found |= {worker} if workers else set()
                for run in worker.children():
                    words = run.cmdline()
                    if "exec-run" in words and any(Path(word).name[:7] in numbers for word in words):
                        found |= {run, *run.children(recursive=True)}
        return found

    def _typed(self, *words: str) -> str:
        """A command of DVC as one types it here."""
        root = self.repository.root.resolve()
        where = [] if root == Path.cwd() else ["--cd", str(root)]
        return shlex.join(["dvc", *where, *words])


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, and SIGTERM in the same way, end what runs in this block with one sentence.

    Raises:
        HybridVAEError: it was stopped.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise HybridVAEError("stopped: the same command goes on from here.") from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the end of the block."""
    heard: list[int] = []
    signs = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(sign, lambda number, _: heard.append(number)) for sign in signs]
    try:
        yield
    finally:
        for sign, handler in zip(signs, before, strict=True):
            signal.signal(sign, handler)
    if heard:
        signal.raise_signal(heard[0])


def _states(tasks: _Tasks) -> dict[str, str]:
    """Name -> state."""
    return {name: state for name, (_, state) in tasks.items()}


def _value(value: Any) -> str:
    """A value as DVC's --set-param reads it, by the grammar of Hydra: a text in quotes, as what it is otherwise."""
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{quoted}'"
