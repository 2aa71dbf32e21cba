"""SIGKILL at random moments of a real `dvc repro`, which then goes on to the same bytes as one that was left alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from random import Random

from command import ROOT

from faults.project import git_project, make_project
from faults.running import Fault, Results, Tried, random_of
from hybridvae.errors import HybridVAEError
from hybridvae.files import read_yaml, sha256_of
from hybridvae.repository import Repository

CASES = 50
TRIED = "kills of `dvc repro` with all its processes, each followed by `make mend` and another `dvc repro`"
COUNTS = "a `dvc repro` that then fails; outputs, or entries of dvc.lock, other than those of one that was left alone"
MODELS = ("popularity", "lightgcn", "hybridvae")
LONGER = {"lightgcn": {"epochs": 60, "patience": 60}, "hybridvae": {"epochs": 150, "patience": 150}}
KILLS_A_ROUND = 6  # of one project, before it may run to its end
LONGEST = 900  # seconds of a `dvc repro`


def run(cases: Sequence[int], seed: int, work: Path) -> Results:
    """Two projects at a time, with some kills each; a case is a kill."""
    alone = _Project(work / "alone", work / "data")
    if alone.repro(lambda: False) != 0:
        raise HybridVAEError(f"`dvc repro` fails on tiny data: {alone.said()[-500:]}")
    rounds = [cases[first : first + KILLS_A_ROUND] for first in range(0, len(cases), KILLS_A_ROUND)]
    with ThreadPoolExecutor(2) as threads:
        tasks = [threads.submit(_round, killed, seed, work, alone.outputs()) for killed in rounds]
        for task in as_completed(tasks):
            yield from task.result()


def _round(waiting: Sequence[int], seed: int, work: Path, expected: dict[str, str]) -> list[tuple[int, Tried]]:
    """Kills of one project, or of several where one ends before it is killed, and what came of them."""
    results: list[tuple[int, Tried]] = []
    tries = 0
    while waiting:
        tries += 1
        project = _Project(work / f"killed-{waiting[0]}", work / "data")
        killed: list[int] = []
        code = None
        while code is None:
            now = _moment(random_of(seed, f"kills {tries}", waiting[0]), project) if waiting else lambda: False
            code = project.repro(now)
            if code is None:
                killed.append(waiting[0])
                waiting = waiting[1:]
        faults = project.differences(expected)
        if code != 0:
            faults = [Fault("`dvc repro` fails after kills", " ".join(project.said()[-300:].split()))]
        found = [Fault(fault.kind, f"after kills {killed}: {fault.said}") for fault in faults]
        results += [(case, Tried("killed", [])) for case in killed]
        results.append(((killed or waiting)[-1], Tried("ran to its end", found)))
        shutil.rmtree(project.folder.parent)
    return results


class _Project:
    """A clone with tiny data, and a cache folder of its own."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.cache = folder / "project", folder / "cache"
        for name in ("src", ".dvc"):
            ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
            shutil.copytree(ROOT / name, self.folder / name, ignore=ignored)
        shutil.copy(ROOT / ".gitignore", self.folder)
        shutil.copy(ROOT / ".dvcignore", self.folder)
        make_project(self.folder, data, models=MODELS, **LONGER)
        git_project(self.folder)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = os.environ | {"PATH": programs, "HYBRIDVAE_CACHE": str(self.cache), "DVC_NO_ANALYTICS": "1"}

    def repro(self, now: Callable[[], bool]) -> int | None:
        """As `make` does, mend and run `dvc repro`, and kill it with all that it started when it is time.

        Returns:
            The exit code of `dvc repro`; None where it was killed.
        """
        Repository(self.folder).mend()
        with (self.folder.parent / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                ["dvc", "repro"],
                cwd=self.folder,
                env=self._environment,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            start = time.monotonic()
            try:
                while process.poll() is None and time.monotonic() < start + LONGEST:
                    if now():
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
                        return None
                    time.sleep(0.003)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def said(self) -> str:
        """What the last `dvc repro` said."""
        return (self.folder.parent / "said.txt").read_text(errors="replace")

    def outputs(self) -> dict[str, str]:
        """Hash of each file that stages wrote, by path."""
        files: list[Path] = []
        for name in ("data", "metrics", "plots"):
            files += [path for path in sorted((self.folder / name).rglob("*")) if path.is_file()]
        # DVC appends a stage to its lock where it finds none: the order of the stages is no result.
        stages = sorted(read_yaml(self.folder / "dvc.lock")["stages"].items())
        locked = {f"{name} in dvc.lock": sha256(repr(stage).encode()).hexdigest() for name, stage in stages}
        return locked | {str(path.relative_to(self.folder)): sha256_of(path) for path in files}

    def differences(self, expected: dict[str, str]) -> list[Fault]:
        """What is other than of a run that was left alone."""
        found = self.outputs()
        more, less = sorted(found.keys() - expected.keys()), sorted(expected.keys() - found.keys())
        other = sorted(path for path in found.keys() & expected.keys() if found[path] != expected[path])
        faults = [Fault("other bytes than without kills", ", ".join(other[:8]))] if other else []
        faults += [Fault("a file is missing", ", ".join(less[:8]))] if less else []
        faults += [Fault("a file is left behind", ", ".join(more[:8]))] if more else []
        if self.cache.is_dir() and (left := [path for path in (self.cache / "fits").rglob("*") if path.is_file()]):
            faults.append(Fault("state of a fit is left behind", ", ".join(path.name for path in left[:8])))
        return faults


def _moment(random: Random, project: _Project) -> Callable[[], bool]:
    """When to kill: after a time, or when a file is half written, a lock is written, or a stage begins."""
    start, after = time.monotonic(), random.choice([random.uniform(0.5, 6), random.uniform(2, 30)])
    how = random.choice(["time", "time", "half a file", "the lock", "state"])
    lock = project.folder / "dvc.lock"
    written = lock.stat().st_mtime_ns if lock.exists() else 0

    def now() -> bool:
        if time.monotonic() < start + after:
            return False
        if how == "half a file" and time.monotonic() < start + 40:
            return any(True for _ in _partial(project.folder / "metrics", project.folder / "data", project.cache))
        if how == "the lock" and time.monotonic() < start + 40:
            return lock.exists() and lock.stat().st_mtime_ns != written
        if how == "state" and time.monotonic() < start + 40:
            return any((project.cache / "fits").glob("*/last.safetensors"))
        return True

    return now


def _partial(*folders: Path) -> list[Path]:
    """Files that are being written."""
    found = []
    for folder in folders:
        for inner, _, files in os.walk(folder):
            found += [Path(inner, name) for name in files if re.fullmatch(r"\..*\.partial", name)]
    return found
