"""What the stage scripts share: parameters, folders, the words at the end, errors without a traceback.

Its import reads and checks the parameters, so that wrong ones are refused before any work.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
# The library beside this script comes first: a queued experiment runs its own checkout's code.
sys.path.insert(0, str(ROOT / "src"))

from hybridvae.config import parse_config  # noqa: E402
from hybridvae.costs import Cost, note_cost  # noqa: E402
from hybridvae.errors import in_one_sentence  # noqa: E402
from hybridvae.files import cache_folder  # noqa: E402
from hybridvae.freshness import drop_figures_of_others  # noqa: E402
from hybridvae.parameters import read_params  # noqa: E402
from hybridvae.progress import name_stage, standard_output  # noqa: E402

if TYPE_CHECKING:
    from hybridvae.models import Recommender


cache = cache_folder
LEADS = os.environ.get("RANK", "0") == "0"  # of several processes of torchrun's one writes what the stage writes
STAGE = Path(sys.argv[0]).stem
with in_one_sentence(STAGE):
    PARAMS: dict[str, Any] = read_params(ROOT / "params.yaml", passed=cache() / "params.sha256")
DATASET: str = PARAMS["dataset"]


def model_name() -> str:
    """The model that the script was called with."""
    if len(sys.argv) != 2:
        sys.exit(f"{STAGE}: name one model, as in `dvc repro {STAGE}@hybridvae`.")
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


def spread(model: "Recommender") -> None:
    """Run this stage anew by as many processes as params.yaml says, and end with them.

    Goes on where one is enough, where torchrun started this process already, and with a model that one process fits; of
    other processes that torchrun started for such a model only the first goes on.
    """
    if "RANK" in os.environ:
        if not LEADS and not getattr(model, "in_processes", False):
            sys.exit()
    elif PARAMS["processes"] > 1 and getattr(model, "in_processes", False):
        sys.exit(_by_torchrun(PARAMS["processes"]))


def _by_torchrun(processes: int) -> int:
    """Run this script by several processes of this machine; returns the exit status."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what failed says so itself
    try:
        main(["--standalone", f"--nproc-per-node={processes}", "--local-ranks-filter=0", *sys.argv])
    except SignalException:
        return 128 + signal.SIGTERM
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if rank or failure.exitcode < 0:  # the first process says in one sentence what is wrong, if it can
            said = f"{STAGE}: process {rank} of {processes} ended with {failure.exitcode}: run it again, and it goes on"
            print(f"{said} after the last whole epoch.", file=sys.stderr)
        return 1
    return 0


def run(main: Callable[[], str], *, wrote: Sequence[Path]) -> None:
    """Run a stage; print what it says at its end, what it wrote, seconds and peak memory, or its error in one sentence.

    Args:
        wrote: the stage's outputs.
    """
    name, start = STAGE, time.perf_counter()
    name_stage(" ".join([name, *sys.argv[1:]]))
    with in_one_sentence(name):
        if _in_copy():
            drop_figures_of_others(ROOT, "@".join([name, *sys.argv[1:]]))
        said = main()
        if not LEADS:
            return
        if "DVC_EXP_NAME" in os.environ:  # not before, where a mistake would cost what was up to date
            drop_figures_of_others(ROOT, "@".join([name, *sys.argv[1:]]))
    seconds, megabytes = time.perf_counter() - start, _peak_memory()
    note_cost(cache(), _cost(name, seconds, megabytes))
    outputs = ", ".join(path.relative_to(ROOT).as_posix() for path in wrote)
    memory = f", peak memory {megabytes:,.0f} MB" if megabytes else ""
    with in_one_sentence(name), standard_output():
        print(f"{name}: {said}; wrote {outputs} in {seconds:.1f} s{memory}")


def _in_copy() -> bool:
    """Whether this is a run of DVC's queue, in a copy of the repository of its own."""
    return "DVC_EXP_NAME" in os.environ and Path(os.environ.get("DVC_ROOT", ROOT)) != ROOT


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
