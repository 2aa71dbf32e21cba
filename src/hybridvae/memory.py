"""What memory is free, and the sentence of a model that would not fit into it.

A fit that outgrows the memory is killed by the system without a word, or makes the whole machine crawl. So a model says
before it starts what it will hold at once, and refuses what cannot fit.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path

from hybridvae.errors import BadParameterError, NotEnoughMemoryError, quoted

Needs = Mapping[str, float]  # what is held at once -> bytes

_VARIABLE = "HYBRIDVAE_MEMORY"
_GROUPS = Path("/sys/fs/cgroup")
_WORKING_SPACE = 200e6  # bytes: blocks of scores and their copies, whatever the model


def free_memory() -> int | None:
    """Bytes that this process may still take; None where the system does not say.

    The least of what the machine has available, of what each control group (as of a container) still allows, of what
    `ulimit -v` does, and of the environment variable HYBRIDVAE_MEMORY (in GB), for those who share a machine.

    Raises:
        BadParameterError: HYBRIDVAE_MEMORY is no number above 0.
    """
    import psutil  # type: ignore[import-untyped]

    limits = [_asked_for(), _below_ulimit(), *_below_groups()]
    with suppress(psutil.Error, OSError):
        limits.append(psutil.virtual_memory().available)
    return min((limit for limit in limits if limit is not None), default=None)


def free_on(device: str) -> int | None:
    """Bytes that are free on a device: "cuda" has a memory of its own."""
    if device != "cuda":
        return free_memory()
    import torch

    return int(torch.cuda.mem_get_info()[0])


def check_memory(name: str, needs: Needs, advice: str, *, free: int | None = None) -> str:
    """What a model will need, in one sentence.

    Args:
        needs: about what it holds at once.
        advice: what to change where that is too much.
        free: bytes; by default those of main memory.

    Raises:
        NotEnoughMemoryError: more is needed than is free.
    """
    free = free_memory() if free is None else free
    total = sum(needs.values()) + _WORKING_SPACE
    said = f"{name} needs about {gigabytes(total)} of memory"
    if needs and (largest := max(needs, key=needs.__getitem__)):
        said += f" ({gigabytes(needs[largest])} for {largest})"
    if free is None:
        return said
    said += f", and {gigabytes(free)} are free"
    if total > free:
        raise NotEnoughMemoryError(f"{said}: {advice}.")
    return said


def gigabytes(size: float) -> str:
    """A size for people, e.g. "1.7 GB", or "340 MB" where it is less than one."""
    if size < 999.5e6:
        return f"{size / 1e6:,.0f} MB"
    return f"{size / 1e9:,.1f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


def _asked_for() -> int | None:
    text = os.environ.get(_VARIABLE)
    if text is None:
        return None
    with suppress(ValueError):
        if 0 < (gigabytes := float(text)) < inf:
            return int(gigabytes * 1e9)
    raise BadParameterError(f"{_VARIABLE} is {quoted(text)}: give a number of GB above 0, or unset it.")


def _below_ulimit() -> int | None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return max(0, limit - pages * resource.getpagesize())
    return None


def _below_groups() -> Iterator[int]:
    """What the control groups of this process, and those around them, still allow: of versions 2 and 1."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, most, used, cached = (
                (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                if controllers
                else (_GROUPS, "memory.max", "memory.current", "inactive_file")
            )
            folder = root / path.lstrip("/")
            for group in (folder, *folder.parents):
                if not group.is_relative_to(root):
                    break
                with suppress(OSError, ValueError, KeyError):  # "max" is no number: no limit
                    limit = int((group / most).read_text())
                    stat = dict(one.split() for one in (group / "memory.stat").read_text().splitlines())
                    # The cache of files that nobody reads just now is given back when it is asked for.
                    yield max(0, limit - int((group / used).read_text()) + int(stat[cached]))
