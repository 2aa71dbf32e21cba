"""What the stage scripts share: parameters, folders, the words at the end, errors without a traceback.

It is imported first, so that wrong parameters are refused before any work, and errors of later imports are worded too.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
# The library beside this script comes first: a queued experiment runs its own checkout's code.
sys.path.insert(0, str(ROOT / "src"))

from hybridvae.config import parse_config  # noqa: E402
from hybridvae.costs import Cost, note_cost  # noqa: E402
from hybridvae.errors import explained  # noqa: E402
from hybridvae.files import cache_folder  # noqa: E402
from hybridvae.parameters import read_params  # noqa: E402
from hybridvae.progress import name_stage, standard_output  # noqa: E402

if TYPE_CHECKING:
    from hybridvae.models import Recommender


def in_one_sentence(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say what ended the stage; only a defect of the code shows where it is."""
    said = "stopped" if kind is KeyboardInterrupt else explained(error)
    if said is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"{Path(sys.argv[0]).stem}: {said}", file=sys.stderr)


sys.excepthook = in_one_sentence

cache = cache_folder
PARAMS: dict[str, Any] = read_params(ROOT / "params.yaml", passed=cache() / "params.sha256")
DATASET: str = PARAMS["dataset"]


def model_name() -> str:
    """The model that the script was called with."""
    if len(sys.argv) != 2:
        sys.exit(f"{Path(sys.argv[0]).stem}: name one model, as in `dvc repro {Path(sys.argv[0]).stem}@hybridvae`.")
    return sys.argv[1]


def data(stage: str, *more: str) -> Path:
    """The folder of a stage's data for the current data set, e.g. data/train/ml-100k/hybridvae."""
    return ROOT.joinpath("data", stage, DATASET, *more)


def metrics(*parts: str) -> Path:
    """A metrics file, e.g. metrics/test/hybridvae.json."""
    return ROOT.joinpath("metrics", *parts)


def block(name: str, config: type[Any]) -> Any:
    """A block of params.yaml as its dataclass."""
    return parse_config(config, PARAMS.get(name), where=name)


def vectors_for(model: "Recommender") -> Path | None:
    """The file of the item vectors, for a model that wants them."""
    return data("embed") / "items.safetensors" if model.needs_vectors else None


def run(main: Callable[[], str], *, wrote: Sequence[Path]) -> None:
    """Run a stage; print what it says at its end, what it wrote, seconds and peak memory.

    Args:
        wrote: the stage's outputs.
    """
    name, start = Path(sys.argv[0]).stem, time.perf_counter()
    name_stage(" ".join([name, *sys.argv[1:]]))
    said = main()
    seconds, megabytes = time.perf_counter() - start, _peak_memory()
    note_cost(cache(), _cost(name, seconds, megabytes))
    outputs = ", ".join(path.relative_to(ROOT).as_posix() for path in wrote)
    memory = f", peak memory {megabytes:,.0f} MB" if megabytes else ""
    with standard_output():
        print(f"{name}: {said}; wrote {outputs} in {seconds:.1f} s{memory}")


def _cost(stage: str, seconds: float, megabytes: float | None) -> Cost:
    model = sys.argv[1] if len(sys.argv) > 1 else None
    return Cost(
        stage=stage,
        dataset=DATASET,
        split=PARAMS["split"]["strategy"],
        model=model,
        parameters=PARAMS.get(model) if model else None,
        seed=PARAMS["seed"],
        threads=os.environ.get("OMP_NUM_THREADS"),
        seconds=round(seconds, 2),
        peak_mb=megabytes,
    )


def _peak_memory() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
