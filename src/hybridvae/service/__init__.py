"""How is it served: an HTTP interface and a page in front of the trained models."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridvae.errors import NotEnoughMemoryError, UnreadableFileError
from hybridvae.refusal import refusal_in
from hybridvae.repository import Repository

if TYPE_CHECKING:
    from hybridvae.service.engine import Engine

_SECONDS_TO_FINISH = 10  # for requests in flight when the process is told to end


def read_engine(root: Path, *, model: str, approximate: bool = False) -> "Engine":
    """The engine of a repository in which `dvc repro train` has run.

    Args:
        model: the one that answers where a request names none.
        approximate: search for lists in place of scoring all items, where the model allows it.

    Raises:
        UnreadableFileError: something is not there yet, or damaged; the message says which command makes it.
        BadParameterError: `model` cannot be searched approximately, or faiss is not installed.
    """
    from hybridvae.checkpoint import readable
    from hybridvae.data.interactions import read_interactions
    from hybridvae.service.engine import Engine

    params = Repository(root).params
    dataset = params["dataset"]
    folders = {name: root / "data" / "train" / dataset / name for name in params["models"]}
    checkpoints = {name: folder for name, folder in folders.items() if (folder / "checkpoint.json").is_file()}
    if sentence := refusal_in(folders[model]) if model in folders else None:
        raise NotEnoughMemoryError(f"{model} of {dataset} was not fitted: {sentence}")
    if model not in checkpoints:
        raise UnreadableFileError(
            f"there is no trained {model} of {dataset}: run `make run-api`, or `dvc repro train@{model}`."
        )
    split = root / "data" / "split" / dataset
    if not (split / "fit").is_dir() or not (split / "test").is_dir():
        raise UnreadableFileError(f"{split} is not there: run `make run-api`, or `dvc repro split`.")
    with readable(split, "dvc repro split"):
        known = read_interactions(split / "fit", split / "test", upto="test")
    vectors = root / "data" / "embed" / dataset / "items.safetensors"
    return Engine(
        known,
        dataset=dataset,
        checkpoints=checkpoints,
        default=model,
        positive_rating=params["clean"]["positive_rating"],
        vectors=vectors if params["embed"]["control"] == "none" else None,
        encoder=params["embed"]["model"],
        approximate=approximate,
    )


def use_one_thread() -> None:
    """Let torch multiply on one thread: several wait for each other, and for whatever else needs a core."""
    import torch

    torch.set_num_threads(1)
    # Lets oneDNN multiply, which may round what goes in to half precision where that is quicker; sums stay float32.
    torch.set_float32_matmul_precision("medium")


def serve(root: Path, *, model: str, host: str, port: int, approximate: bool = False) -> None:
    """Answer requests until the process is told to end; what is in flight then is finished.

    Raises:
        UnreadableFileError, BadParameterError: as `read_engine`.
    """
    import gc

    import uvicorn

    from hybridvae.service.app import create_app

    use_one_thread()
    app = create_app(read_engine(root, model=model, approximate=approximate))
    gc.collect()
    gc.freeze()  # what is loaded stays: looking through it for garbage would hold up all requests for a while
    uvicorn.run(app, host=host, port=port, **server_options())


def server_options() -> dict[str, Any]:
    """How uvicorn is to run: with deadlines, and with as many connections as there may be files."""
    from hybridvae.service.connections import MOST_CONNECTIONS, Connection

    files = _files(2 * MOST_CONNECTIONS)
    Connection.most = min(MOST_CONNECTIONS, files // 2)
    return {
        "http": Connection,
        "ws": "none",
        "backlog": files // 4,  # connections that are accepted at a time, before they are counted
        "proxy_headers": False,
        "log_level": "error",
        "access_log": False,
        "timeout_graceful_shutdown": _SECONDS_TO_FINISH,
    }


def _files(wanted: int) -> int:
    """How many files and connections the process may open, after asking for so many."""
    try:
        import resource
    except ImportError:  # on Windows, which has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted:
        more = wanted if hard < 0 else min(wanted, hard)
        with suppress(ValueError, OSError):  # the system allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    return soft if soft >= 0 else wanted
