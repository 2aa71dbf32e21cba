"""Clones of the repository in which searches run on other data sets and splits than params.yaml names."""

from hybridvae.errors import HybridVAEError
from hybridvae.experiments.grid import write_parameters
from hybridvae.files import cache_folder
from hybridvae.repository import Repository

COMMITTED = ("src", "stages", "params.yaml", "sources.yaml", "dvc.yaml")  # what decides the outcome of a run


def workspace(repository: Repository, dataset: str, strategy: str) -> Repository:
    """A clone of what is committed, with the data set fetched, cleaned, split and embedded; it shares the DVC cache.

    It stays in the cache folder, and the next search on the same data set and split finds it there.

    Raises:
        HybridVAEError: there are changes that are not committed, or a stage failed.
    """
    if repository.git("diff", "--name-only", "HEAD", "--", *COMMITTED).strip():
        raise HybridVAEError(f"commit your changes of {', '.join(COMMITTED)} first: what is committed is run.")
    root = repository.root.resolve()
    clone = Repository(cache_folder().resolve() / "search" / f"{root.name}-{dataset}-{strategy}")
    if not (clone.root / ".git").exists():
        clone.root.parent.mkdir(parents=True, exist_ok=True)
        repository.git("clone", "--quiet", str(root), str(clone.root))
    before = clone.git("rev-parse", "HEAD")
    clone.git("fetch", "--quiet", str(root), "HEAD")
    clone.git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    if clone.git("rev-parse", "HEAD") != before:
        clone.dvc("queue", "remove", "--queued")  # its waiting runs are of the commit before
    for key in ("user.name", "user.email"):  # DVC commits experiments
        if value := repository.git("config", "--default", "", "--get", key).strip():
            clone.git("config", key, value)
    clone.dvc("cache", "dir", "--local", str(root / ".dvc" / "cache"))
    write_parameters(clone.root / "params.yaml", {"dataset": dataset, "split": {"strategy": strategy}})
    clone.dvc("repro", "embed", "fingerprint")
    return clone
