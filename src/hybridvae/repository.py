"""The repository as experiments see it: git for what was, DVC's command line for what is to be."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from hybridvae.config import Block
from hybridvae.errors import HybridVAEError, UnreadableFileError, quoted
from hybridvae.files import cache_folder, parse_yaml, read_yaml, write_text
from hybridvae.progress import warn

_COPY = "refs/hybridvae/copy"  # of one commit on its way between a repository and a clone
_LEFT_OUT = ("docs", "store", "tests")  # of what git tracks: no stage reads them, and `store` is most of it
_GRACE = 10.0  # seconds in which an interrupted command may end by itself


@dataclass(frozen=True)
class Experiment:
    """An experiment that DVC keeps: a commit with a name, outside all branches, made from a baseline commit."""

    name: str
    revision: str
    baseline: str

    @property
    def reference(self) -> str:
        """What git calls it."""
        return f"refs/exps/{self.baseline[:2]}/{self.baseline[2:]}/{self.name}"


@dataclass(frozen=True)
class Repository:
    """A clone, with what is asked of git and DVC there."""

    root: Path

    @property
    def catalogue(self) -> Block:
        """sources.yaml as it is now."""
        return self.yaml("sources.yaml")

    @property
    def params(self) -> Block:
        """params.yaml as it is now.

        Raises:
            UnreadableFileError: there is none.
        """
        if not (self.root / "params.yaml").is_file():
            raise UnreadableFileError(
                f"{self.root.resolve()} has no params.yaml: run this in the folder of the repository."
            )
        return self.yaml("params.yaml")

    def yaml(self, path: str, revision: str | None = None) -> Block:
        """A YAML or JSON file, now or at a revision; empty where there is none.

        Raises:
            UnreadableFileError: it is not YAML, or no block of names and values.
        """
        if revision is None:
            value = read_yaml(self.root / path) if (self.root / path).is_file() else None
        else:
            found = self._call("git", "show", f"{revision}:{path}")
            value = parse_yaml(found.stdout, path) if found.returncode == 0 else None
        if not isinstance(value, Mapping | None):
            raise UnreadableFileError(f"{path} is {quoted(value)}: it must be a block of names and values.")
        return dict(value or {})

    def experiments(self) -> list[Experiment]:
        """The experiments of every commit, the oldest first."""
        listed = self.git("for-each-ref", "--sort=committerdate", "--format=%(refname) %(objectname)", "refs/exps/")
        found = []
        for line in listed.splitlines():
            reference, _, revision = line.partition(" ")
            parts = reference.split("/")  # refs/exps/<two digits>/<the rest of the baseline>/<name>
            if len(parts) == 5 and len(parts[2]) == 2:
                found.append(Experiment(parts[4], revision, parts[2] + parts[3]))
        return found

    def copy_head(self, clone: "Repository") -> bool:
        """Check out in a clone what stages read of HEAD, as one commit without history, whose message is HEAD's hash.

        DVC gives each run of its queue a copy of all that git has, which takes longer than many a fit.

        Returns:
            Whether the clone had the files of another commit, or none.
        """
        head = self.git("rev-parse", "HEAD").strip()
        if clone.copied_head() == head:
            return False
        tree = self._tree([entry for name, entry in self._entries("HEAD").items() if name not in _LEFT_OUT])
        self.git("update-ref", _COPY, self.git("commit-tree", tree, "-m", head).strip())
        clone.git("fetch", "--quiet", str(self.root.resolve()), _COPY)  # which asks for a name
        self.git("update-ref", "-d", _COPY)
        clone.git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        return True

    def copied_head(self) -> str:
        """Of a clone, the hash of the commit whose files it has, see `copy_head`; empty where it has none."""
        return self._call("git", "log", "--max-count=1", "--format=%s", "HEAD").stdout.strip()

    def take_experiments(self, clone: "Repository") -> None:
        """Move all experiments of a clone here: onto the commits whose files the clone had, see `copy_head`."""
        for made in clone.experiments():
            message = clone.git("log", "--max-count=1", "--format=%B", made.revision)
            baseline = clone.git("log", "--max-count=1", "--format=%s", made.baseline).strip()
            self.git(
                "fetch", "--quiet", "--no-write-fetch-head", str(clone.root.resolve()), f"+{made.reference}:{_COPY}"
            )
            if self._call("git", "cat-file", "-e", f"{baseline}^{{commit}}").returncode:  # history was rewritten
                baseline = self.git("rev-parse", "HEAD").strip()
            left_out = {name: entry for name, entry in self._entries(baseline).items() if name in _LEFT_OUT}
            tree = self._tree((left_out | self._entries(_COPY)).values())
            commit = self.git("commit-tree", tree, "-p", baseline, "-m", message).strip()
            self.git("update-ref", replace(made, baseline=baseline).reference, commit)
            self.git("update-ref", "-d", _COPY)
            clone.git("update-ref", "-d", made.reference)

    def _entries(self, revision: str) -> dict[str, str]:
        """What a commit has at the top: name -> the line of `git ls-tree`."""
        return {line.partition("\t")[2]: line for line in self.git("ls-tree", revision).splitlines()}

    def _tree(self, entries: Iterable[str]) -> str:
        """The hash of a tree of such lines."""
        return self._checked("git", "mktree", given="".join(f"{entry}\n" for entry in entries)).strip()

    def read_output(self, path: str, revision: str) -> bytes:
        """A file of a stage's outputs, as it was at a revision, from DVC's cache.

        Raises:
            UnreadableFileError: the cache does not hold it.
        """
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from dvc_data.index.index import DataIndexError

        try:
            content: bytes = DVCFileSystem(str(self.root), rev=revision).read_bytes(path)
        except (OSError, DvcException, DataIndexError) as error:
            raise UnreadableFileError(
                f"DVC's cache lacks {path} of the experiment {revision[:7]} ({str(error).splitlines()[0]}): "
                "run `dvc pull`, or remove the experiment with `dvc exp remove` and run this again."
            ) from None
        return content

    def git(self, *arguments: str) -> str:
        """What git says.

        Raises:
            HybridVAEError: git failed.
        """
        return self._checked("git", *arguments)

    def dvc(self, *arguments: str, threads: int | None = None) -> str:
        """What DVC says.

        Args:
            threads: of each process that DVC starts; None leaves the number to torch and BLAS.

        Raises:
            HybridVAEError: DVC failed.
        """
        return self._checked("dvc", *arguments, threads=threads)

    def mend(self) -> None:
        """Put right what a DVC that was killed has left half written, and refuses to work with.

        Its list of files in use is deleted. dvc.lock becomes the committed one, and stages that it then does not know
        of run again, or come from DVC's run cache.
        """
        self._mend_lock()
        file = self.root / ".dvc" / "tmp" / "rwlock"
        for wait in (1.0, 0.0):  # seconds, in which another DVC may be writing it
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return
            except ValueError:
                time.sleep(wait)
            else:
                return
        file.unlink(missing_ok=True)

    def _mend_lock(self) -> None:
        from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # by which DVC judges it
        from voluptuous import Invalid

        file = self.root / "dvc.lock"
        if not file.is_file():
            return
        try:
            COMPILED_LOCKFILE_SCHEMA(read_yaml(file))
        except (UnreadableFileError, Invalid):
            committed = self._call("git", "show", "HEAD:dvc.lock")
            if committed.returncode:
                file.unlink()
            else:
                write_text(file, committed.stdout)
            warn("dvc.lock was half written: it is the committed one again, and what it does not know of runs again.")

    def reproduce(self, *stages: str) -> None:
        """Run stages with what they say shown as they say it.

        Raises:
            HybridVAEError: a stage failed; it has said why.
        """
        self.mend()
        if self._run(["dvc", "repro", *stages]):
            raise HybridVAEError(f"`dvc repro {' '.join(stages)}` failed: see above.")

    def _checked(self, *command: str, threads: int | None = None, given: str = "") -> str:
        done = self._call(*command, threads=threads, given=given)
        if done.returncode:
            said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            raise HybridVAEError(f"`{' '.join(command[:4])} ...` failed: {' / '.join(said[-3:])}")
        return done.stdout

    def _call(self, *command: str, threads: int | None = None, given: str = "") -> "subprocess.CompletedProcess[str]":
        # Into files and not through pipes: DVC's workers would keep those open, and a pipe is read to its end.
        with ExitStack() as files:
            out, errors = (files.enter_context(TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
            read = files.enter_context(TemporaryFile("w+", encoding="utf-8")) if given else None
            if read:
                read.write(given)
                read.seek(0)
            code = self._run(command, threads=threads, given=read, out=out, errors=errors)
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), errors.read())

    def _run(
        self,
        command: Sequence[str],
        *,
        threads: int | None = None,
        given: IO[str] | None = None,
        out: IO[str] | None = None,
        errors: IO[str] | None = None,
    ) -> int:
        """Run a command and return its exit code; when this process is interrupted, so is all that the command runs."""
        # DVC leaves Ctrl-C to its stages, which a terminal alone would send it to. As a group they get it from here.
        group = 0 if os.name == "posix" else None
        environment = self._environment(threads)
        with subprocess.Popen(
            command, cwd=self.root, env=environment, stdin=given, stdout=out, stderr=errors, process_group=group
        ) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                _end(process)
                raise

    def _environment(self, threads: int | None) -> Mapping[str, str]:
        # DVC's queue calls `dvc` by name, and stages call `python`: those beside this interpreter.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        # Queued runs work in folders of their own, where a relative path would be another one.
        cache = {"HYBRIDVAE_CACHE": str(cache_folder().resolve())}
        return os.environ | {"PATH": path} | cache | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group: by an interrupt, and where that is not heard, for good."""
    if os.name != "posix":
        process.kill()
        return
    for sign in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, sign)
            process.wait(_GRACE)
