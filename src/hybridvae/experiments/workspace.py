"""Clones of the repository in which benchmarks and ablations run, so that params.yaml here stays as it is."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from hybridvae.errors import HybridVAEError
from hybridvae.experiments.grid import write_parameters
from hybridvae.files import cache_folder
from hybridvae.repository import Repository

COMMITTED = ("src", "stages", "params.yaml", "sources.yaml", "dvc.yaml")  # what decides the outcome of a run


@contextmanager
def workspace(repository: Repository, dataset: str, strategy: str) -> Iterator[Repository]:
    """A clone of what is committed, with the data set fetched, cleaned, split and embedded; it shares the DVC cache.

    It stays in the cache folder, and the next search on the same data set and split finds it there.

    Raises:
        HybridVAEError: there are changes that are not committed, another search works in the clone, or a stage failed.
    """
    if repository.git("diff", "--name-only", "HEAD", "--", *COMMITTED).strip():
        raise HybridVAEError(f"commit your changes of {', '.join(COMMITTED)} first: what is committed is run.")
    root = repository.root.resolve()
    whose = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    clone = Repository(cache_folder().resolve() / "search" / f"{root.name}-{whose}-{dataset}-{strategy}")
    clone.root.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{clone.root}.lock", timeout=0):
            _prepare(clone, repository, dataset, strategy)
            yield clone
    except Timeout:
        raise HybridVAEError(f"another search on {dataset} works in {clone.root}: wait until it has ended.") from None


def _prepare(clone: Repository, repository: Repository, dataset: str, strategy: str) -> None:
    """Bring a clone to the commit of the repository and its data to the stage `embed`."""
    if not (clone.root / ".git").exists():
        partial = clone.root.with_name(f"{clone.root.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a command that was stopped
        repository.git("init", "--quiet", str(partial))
        partial.rename(clone.root)
    for key in ("user.name", "user.email"):  # DVC commits experiments
        if value := repository.git("config", "--default", "", "--get", key).strip():
            clone.git("config", key, value)
    clone.mend()
    if repository.copy_head(clone):
        clone.dvc("queue", "remove", "--queued")  # its waiting runs are of the commit before
        # DVC reads the lock again and again in each run, which needs no more than what `repro` enters here.
        (clone.root / "dvc.lock").unlink()
    clone.dvc("cache", "dir", "--local", repository.dvc("cache", "dir").strip())
    write_parameters(clone.root / "params.yaml", {"dataset": dataset, "split": {"strategy": strategy}})
    clone.dvc("repro", "embed", "fingerprint")
