"""Training in epochs: early stopping on validation, and a fit that survives being killed.

State is written after each epoch: `last.safetensors`, with the record of the epochs in its header, which also names
the file of the best weights, `best-<epoch>.safetensors`. A file appears by one rename and holds a hash of its content;
the best weights that the last state names stay until the next last state is there. Each epoch draws from a generator of
its own, seeded by its number, so that an epoch repeated after a kill gives the weights it would have given without.
"""

import hashlib
import inspect
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from hybridvae.arrays import FloatArray, arrays_sha256
from hybridvae.data.interactions import Interactions
from hybridvae.dependencies import fingerprint, model_file
from hybridvae.errors import BadParameterError, UnreadableFileError
from hybridvae.files import atomic_path
from hybridvae.models._base import Context, EpochMetrics, IdentifiedValidation, OnEpoch, StateFolder, Validation
from hybridvae.models._processes import ALONE, Processes
from hybridvae.progress import progress, warn

_LAST = "last.safetensors"


class EpochsConfig(Protocol):
    """What the block of a model that is fitted in epochs says of them."""

    @property
    def epochs(self) -> int:
        """At most."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without a better validation figure before training stops."""
        ...

    @property
    def validate_every(self) -> int:
        """Epochs from one validation to the next; the last epoch has one in any case."""
        ...


@dataclass
class FitRecord:
    """How far a fit has come; JSON beside the weights.

    Attributes:
        history: the figures of each epoch so far, the first epoch first.
        best_epoch: number of the epoch with the best validation figure; 0 without validation.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = float("-inf")
    history: list[EpochMetrics] = field(default_factory=list)


def train_epochs(
    network: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    config: EpochsConfig,
    *,
    train_epoch: Callable[[int], EpochMetrics],
    validate: Callable[[], float] | None,
    on_epoch: OnEpoch | None,
    state: StateFolder | None,
    processes: Processes = ALONE,
) -> FitRecord:
    """Run `train_epoch` for the epochs from 1 on, `config.epochs` at most, and leave the chosen weights in `network`.

    With `validate` the weights of its best epoch are chosen (of equal ones the first), and training stops at the
    first validation that is `patience` epochs or more behind the best; without it the last epoch's are.

    Args:
        train_epoch: trains the epoch of this number and returns its figures.
        state: folder to keep the last and the best state in, and to go on from; left to others if the fit fails.
        processes: those that train together; the first one's state and validation count.
    """
    record = FitRecord()
    best: dict[str, Tensor] | None = None
    with _left_on_failure(state):
        if (stored := _of_first(processes, _read_state(state) if state is not None else None)) is not None:
            record, best = stored.record, stored.best
            stored.restore(network, optimizers)
            if on_epoch:
                for number, metrics in enumerate(record.history, start=1):
                    on_epoch(number, metrics)
        with progress(doing="fit", unit="epochs", total=config.epochs, done=record.epoch) as bar:
            while record.epoch < config.epochs:
                judged = record.history and "ndcg@10" in record.history[-1]
                if validate and judged and record.epoch - record.best_epoch >= config.patience:
                    break
                record.epoch += 1
                metrics = train_epoch(record.epoch)
                if validate and (record.epoch % config.validate_every == 0 or record.epoch == config.epochs):
                    value = processes.figure_of_first(validate)
                    metrics |= {"ndcg@10": value}
                    if value > record.best_value:
                        record.best_value, record.best_epoch = value, record.epoch
                        best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
                record.history.append(metrics)
                if state is not None and not _write_state(state, network, optimizers, record, best):
                    state = None
                if on_epoch:
                    on_epoch(record.epoch, metrics)
                bar.update()
                bar.set_postfix({name: f"{figure:.4g}" for name, figure in metrics.items()}, refresh=False)

    if best is not None:
        network.load_state_dict(best)
    return record


def checked_loss(loss: float, epoch: int, name: str) -> float:
    """The loss itself.

    Raises:
        BadParameterError: it is not a finite number.
    """
    if not math.isfinite(loss):
        raise BadParameterError(f"{name}: the loss of epoch {epoch} is {loss}: lower {name}.learning_rate.")
    return loss


def state_folder(
    name: str,
    config: Any,
    context: Context,
    device: torch.device,
    interactions: Interactions,
    *,
    vectors: FloatArray | None,
    validation: Validation | None,
    processes: int = 1,
) -> StateFolder | None:
    """Where a fit keeps its state: a folder named by what decides its outcome: parameters, data, code and machine.

    Args:
        config: the model's frozen dataclass.
        vectors: the item vectors that it is fitted with, if it is.
        validation: what chooses the epoch, if anything does; the code that it reaches counts as the model's does.

    Returns:
        None where no state can be kept, or where nobody can say what the validation decides by.
    """
    if context.state is None:
        return None
    code = [model_file(name)]
    identity = None
    if validation is not None:
        source = _source(type(validation))
        if source is None or not isinstance(validation, IdentifiedValidation):
            warn("nobody can know what this validation decides by: the fit keeps no state; use ValidationNDCG for one.")
            return None
        code.append(source)
        identity = f"{type(validation).__qualname__} {validation.identity}"
    histories, ratings = interactions.histories, interactions.ratings
    facts = {
        "model": [name, asdict(config), context.seed],
        "data": [
            list(histories.shape),
            arrays_sha256(histories.indptr, histories.indices, histories.data),
            arrays_sha256(ratings.indptr, ratings.indices, ratings.data),
            arrays_sha256(interactions.warm, vectors),
        ],
        "validation": identity,
        "code": fingerprint(*code),
        # Under other versions, or on another processor, a fit would go on with other last bits.
        "versions": [torch.__version__, np.__version__, scipy.__version__],
        "machine": [str(device), _accelerator(device), torch.backends.cpu.get_cpu_capability()],
        "threads": torch.get_num_threads(),
        "processes": processes,
    }
    return context.state.folder(hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32])


def _source(kind: type) -> Path | None:
    """The file that a class is written in; None where that is not known, as of a notebook's cell."""
    with suppress(TypeError, OSError):
        if (source := inspect.getsourcefile(kind)) and Path(source).is_file():
            return Path(source)
    return None


def _accelerator(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


@contextmanager
def _left_on_failure(state: StateFolder | None) -> Iterator[None]:
    """Let others go on from the state if the block fails; if it ends well, `FitState.forget` does it."""
    try:
        yield
    except BaseException:
        if state is not None:
            state.release()
        raise


@dataclass(frozen=True)
class _State:
    """What is read back of an interrupted fit."""

    record: FitRecord
    last: dict[str, Tensor]
    best: dict[str, Tensor] | None

    def restore(self, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        weights: dict[str, Tensor] = {}
        slots: dict[int, dict[int, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
        for name, tensor in self.last.items():
            kind, _, rest = name.partition("/")
            if kind == "network":
                weights[rest] = tensor
            else:
                number, index, slot = rest.split("/")
                slots[int(number)][int(index)][slot] = tensor
        network.load_state_dict(weights)
        for place, optimizer in enumerate(optimizers):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": dict(slots[place]), "param_groups": groups})


def _of_first(processes: Processes, state: _State | None) -> _State | None:
    """The state that the first process read; the others, which read none, have it from there."""
    if not processes.several:
        return state
    record = processes.bytes_of_first(b"" if state is None else json.dumps(vars(state.record)).encode())
    if not record:
        return None
    last = processes.bytes_of_first(save(state.last) if state else b"")
    best = processes.bytes_of_first(save(state.best) if state and state.best else b"")
    return _State(FitRecord(**json.loads(record)), load(last), load(best) if best else None)


def _read_state(folder: StateFolder) -> _State | None:
    """The state in a folder; None where there is none, or a damaged one, which is said and removed."""
    try:
        if (folder.path / _LAST).exists():
            last, text = _read(folder.path / _LAST)
            record = FitRecord(**json.loads(text))
            return _State(record, last, _read(_best(folder, record))[0] if record.best_epoch else None)
        folder.clear()  # what a killed process may have left half
    except UnreadableFileError as error:
        warn(f"the state of an interrupted fit in {folder.path} is damaged ({error}): the fit begins anew.")
        with suppress(OSError):
            folder.clear()
    except OSError as error:
        warn(f"the state of an interrupted fit in {folder.path} cannot be read ({error}): the fit begins anew.")
    return None


def _write_state(
    folder: StateFolder,
    network: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    record: FitRecord,
    best: dict[str, Tensor] | None,
) -> bool:
    """Write the state after an epoch; False, and a line that says so, where that is impossible."""
    last = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            last |= {f"optimizer/{number}/{index}/{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    try:
        if best is not None and record.best_epoch == record.epoch:
            _write(_best(folder, record), best, "")
        _write(folder.path / _LAST, last, json.dumps(vars(record)))
        for path in folder.path.glob("best-*"):
            if path != _best(folder, record):
                path.unlink()
    except (OSError, SafetensorError) as error:
        warn(
            f"the state of this fit cannot be written to {folder.path} ({error}): "
            "if it is stopped, it repeats the epochs from here on."
        )
        return False
    return True


def _best(folder: StateFolder, record: FitRecord) -> Path:
    return folder.path / f"best-{record.best_epoch}.safetensors"


def _write(path: Path, tensors: dict[str, Tensor], record: str) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata={"record": record, "sha256": _sha256(tensors, record)})


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors and the record that `_write` wrote.

    Raises:
        UnreadableFileError: it is not as it was written.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UnreadableFileError(f"{path.name}: {str(error).splitlines()[0]}") from error
    record = header.get("record", "")
    if header.get("sha256") != _sha256(tensors, record):
        raise UnreadableFileError(f"{path.name} does not have the hash that is written in it")
    return tensors, record


def _sha256(tensors: dict[str, Tensor], record: str) -> str:
    """A hash over names, types, shapes and bytes, and over the record; as text in a file's header."""
    digest = hashlib.sha256(json.dumps(record).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
