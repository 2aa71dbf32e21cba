"""What stages cost: seconds and memory, a line each in costs.jsonl of the cache folder.

They are kept apart from the stages' outputs, which must not hold what differs from run to run.
"""

import json
import math
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """One run of a stage.

    Attributes:
        split: the strategy of the split.
        model, parameters: of a stage that is run for each model, and the model's block.
        threads: what OMP_NUM_THREADS was; None where it was left to the libraries.
        peak_mb: peak memory, where the system says it.
    """

    stage: str
    dataset: str
    split: str
    model: str | None
    parameters: dict[str, Any] | None
    seed: int
    threads: str | None
    seconds: float
    peak_mb: float | None


def note_cost(cache: Path, cost: Cost) -> None:
    """Append a cost; a cache that cannot be written stops nobody."""
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with _file(cache).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(cost)) + "\n")


def read_costs(cache: Path) -> Iterator[Cost]:
    """What was noted, the oldest first; a line that is no note is passed over, as a killed stage leaves half of one."""
    lines: list[bytes] = []
    with suppress(OSError):
        lines = _file(cache).read_bytes().splitlines()
    for line in lines:
        with suppress(ValueError, TypeError, OverflowError, RecursionError):
            cost = Cost(**json.loads(line))
            names = (cost.stage, cost.dataset, cost.split, "" if cost.model is None else cost.model)
            numbers = (cost.seconds, 0 if cost.peak_mb is None else cost.peak_mb)
            if all(isinstance(name, str) for name in names) and all(map(math.isfinite, numbers)):
                yield cost


def _file(cache: Path) -> Path:
    return cache / "costs.jsonl"


def processor_name() -> str:
    """What this machine's processor is called, as Linux says it; elsewhere as Python does."""
    if (file := Path("/proc/cpuinfo")).is_file() and (found := re.search(r"model name\s*: (.*)", file.read_text())):
        return found[1]
    return platform.processor()
