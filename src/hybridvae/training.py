"""Training in epochs: early stopping on validation, and a fit that survives being killed.

State is written after each epoch, as safetensors with its JSON in the header: one file, one rename. Each
epoch draws from a generator of its own, seeded by its number, so that an epoch repeated after a kill gives
the weights it would have given without.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hybridvae.errors import HybridVAEError
from hybridvae.files import atomic_path, sha256_of
from hybridvae.interactions import FloatArray, Interactions
from hybridvae.models import Context, EpochMetrics, OnEpoch
from hybridvae.progress import progress as show_progress


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        HybridVAEError: the device is unknown or not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if name not in available:
        raise HybridVAEError(f"device is {name!r}: use one of auto, {', '.join(available)}.")
    if not available[name]:
        raise HybridVAEError(f"device is {name!r}, which this machine does not have: use device: auto.")
    return torch.device(name)


@dataclass
class Progress:
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
    *,
    epochs: int,
    patience: int,
    train_epoch: Callable[[int], EpochMetrics],
    validate: Callable[[], float] | None,
    on_epoch: OnEpoch | None,
    state: Path | None,
    validate_every: int = 1,
) -> Progress:
    """Run `train_epoch` for the epochs 1 to `epochs`, and leave the chosen weights in `network`.

    With `validate` the weights of its best epoch are chosen (of equal ones the first), and training stops at the
    first validation that is `patience` epochs or more behind the best; without it the last epoch's are.

    Args:
        train_epoch: trains the epoch of this number and returns its figures.
        validate_every: epochs from one validation to the next; the last epoch has one in any case.
        state: folder to keep the last and the best state in, and to go on from.
    """
    progress = Progress()
    best: dict[str, Tensor] | None = None
    if state is not None and (state / "last.safetensors").exists():
        progress = _read_state(state / "last.safetensors", network, optimizer)
        if progress.best_epoch:
            best = _tensors(state / "best.safetensors")
        if on_epoch:
            for number, metrics in enumerate(progress.history, start=1):
                on_epoch(number, metrics)

    with show_progress(doing="fit", unit="epochs", total=epochs, done=progress.epoch) as bar:
        while progress.epoch < epochs:
            judged = progress.history and "ndcg@10" in progress.history[-1]
            if validate and judged and progress.epoch - progress.best_epoch >= patience:
                break
            progress.epoch += 1
            metrics = train_epoch(progress.epoch)
            if validate and (progress.epoch % validate_every == 0 or progress.epoch == epochs):
                value = validate()
                metrics |= {"ndcg@10": value}
                if value > progress.best_value:
                    progress.best_value, progress.best_epoch = value, progress.epoch
                    best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            progress.history.append(metrics)
            if state is not None:
                # The best first: killed in between, the last state repeats this epoch and writes it again.
                if best is not None and progress.best_epoch == progress.epoch:
                    _write(state / "best.safetensors", best, {})
                _write_state(state / "last.safetensors", network, optimizer, progress)
            if on_epoch:
                on_epoch(progress.epoch, metrics)
            bar.update()
            bar.set_postfix({name: f"{figure:.4g}" for name, figure in metrics.items()}, refresh=False)

    if best is not None:
        network.load_state_dict(best)
    return progress


def checked_loss(loss: float, epoch: int, name: str) -> float:
    """The loss itself.

    Raises:
        HybridVAEError: it is not a finite number.
    """
    if not math.isfinite(loss):
        raise HybridVAEError(f"{name}: the loss of epoch {epoch} is {loss}: lower {name}.learning_rate.")
    return loss


def state_folder(
    name: str,
    config: Any,
    context: Context,
    *,
    device: torch.device,
    interactions: Interactions,
    vectors: FloatArray | None,
    validated: bool,
) -> Path | None:
    """Where a fit keeps its state: a folder named by what decides its outcome: parameters, data and modules.

    Args:
        config: the model's frozen dataclass.
        vectors: the item vectors that it is fitted with, if it is.
    """
    if context.state is None:
        return None
    package = Path(__file__).parent
    shared = ("training", "vae", "interactions", "seeds", "evaluation", "ranking")
    modules = [*(package / f"{module}.py" for module in shared), package / "models" / f"{name}.py"]
    facts = [name, asdict(config), context.seed, str(device), torch.__version__, validated, *map(sha256_of, modules)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    histories, ratings = interactions.histories, interactions.ratings
    arrays = (histories.indptr, histories.indices, histories.data, ratings.indptr, ratings.indices)
    for array in (*arrays, interactions.warm, vectors):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return context.state.folder(digest.hexdigest()[:32])


def _write(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    with atomic_path(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=header)


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping


def _write_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": tensor for slot, tensor in slots.items()}
    _write(path, tensors, {"progress": json.dumps(vars(progress))})


def _read_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    with safe_open(path, framework="pt") as stored:
        progress = Progress(**json.loads(stored.metadata()["progress"]))
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
    return progress
