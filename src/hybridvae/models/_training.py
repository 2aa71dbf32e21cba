"""Training in epochs: early stopping on validation, and a fit that survives being killed.

State is written after each epoch, as safetensors with its JSON in the header: one file, one rename. Each
epoch draws from a generator of its own, seeded by its number, so that an epoch repeated after a kill gives
the weights it would have given without.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hybridvae.arrays import FloatArray
from hybridvae.data.interactions import Interactions
from hybridvae.dependencies import PACKAGE, fingerprint, model_file
from hybridvae.errors import BadParameterError
from hybridvae.files import atomic_path
from hybridvae.models._base import Context, EpochMetrics, OnEpoch, Validation
from hybridvae.progress import progress


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
    optimizer: torch.optim.Optimizer,
    config: EpochsConfig,
    *,
    train_epoch: Callable[[int], EpochMetrics],
    validate: Callable[[], float] | None,
    on_epoch: OnEpoch | None,
    state: Path | None,
) -> FitRecord:
    """Run `train_epoch` for the epochs from 1 on, `config.epochs` at most, and leave the chosen weights in `network`.

    With `validate` the weights of its best epoch are chosen (of equal ones the first), and training stops at the
    first validation that is `patience` epochs or more behind the best; without it the last epoch's are.

    Args:
        train_epoch: trains the epoch of this number and returns its figures.
        state: folder to keep the last and the best state in, and to go on from.
    """
    record = FitRecord()
    best: dict[str, Tensor] | None = None
    if state is not None and (state / "last.safetensors").exists():
        record = _read_state(state / "last.safetensors", network, optimizer)
        if record.best_epoch:
            best = _tensors(state / "best.safetensors")
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
                value = validate()
                metrics |= {"ndcg@10": value}
                if value > record.best_value:
                    record.best_value, record.best_epoch = value, record.epoch
                    best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            record.history.append(metrics)
            if state is not None:
                # The best first: killed in between, the last state repeats this epoch and writes it again.
                if best is not None and record.best_epoch == record.epoch:
                    _write(state / "best.safetensors", best, {})
                _write_state(state / "last.safetensors", network, optimizer, record)
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
) -> Path | None:
    """Where a fit keeps its state: a folder named by what decides its outcome: parameters, data and code.

    Args:
        config: the model's frozen dataclass.
        vectors: the item vectors that it is fitted with, if it is.
        validation: what chooses the epoch, if anything does; the code that it reaches counts as the model's does.
    """
    if context.state is None:
        return None
    code = [model_file(name)] + ([] if validation is None else _written_in(validation))
    chosen = validation is not None
    facts = [name, asdict(config), context.seed, str(device), torch.__version__, chosen, fingerprint(*code)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    histories, ratings = interactions.histories, interactions.ratings
    arrays = (histories.indptr, histories.indices, histories.data, ratings.indptr, ratings.indices)
    for array in (*arrays, interactions.warm, vectors):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return context.state.folder(digest.hexdigest()[:32])


def _written_in(function: Callable[..., Any]) -> list[Path]:
    """The file that a function is written in; the whole package where that is not known, as of a notebook's cell."""
    while isinstance(function, partial):
        function = function.func
    with suppress(TypeError):
        source = inspect.getsourcefile(function if inspect.isroutine(function) else type(function))
        if source and Path(source).is_file():
            return [Path(source)]
    return sorted(PACKAGE.rglob("*.py"))


def _write(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    with atomic_path(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=header)


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping


def _write_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, record: FitRecord) -> None:
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": tensor for slot, tensor in slots.items()}
    _write(path, tensors, {"record": json.dumps(vars(record))})


def _read_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> FitRecord:
    with safe_open(path, framework="pt") as stored:
        record = FitRecord(**json.loads(stored.metadata()["record"]))
    weights: dict[str, Tensor] = {}
    slots: dict[int, dict[str, Any]] = {}
    for name, tensor in _tensors(path).items():
        kind, _, rest = name.partition("/")
        if kind == "network":
            weights[rest] = tensor
        else:
            index, _, slot = rest.partition("/")
            slots.setdefault(int(index), {})[slot] = tensor
    network.load_state_dict(weights)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return record
