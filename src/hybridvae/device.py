"""On what a fit and the text encoder compute: CUDA, Apple's MPS or the CPU."""

import torch

from hybridvae.errors import BadParameterError, quoted


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        BadParameterError: the device is unknown or not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not isinstance(name, str) or name not in available:
        raise BadParameterError(f"device is {quoted(name)}: use one of auto, {', '.join(available)}.")
    if not available[name]:
        raise BadParameterError(f"device is {name!r}, which this machine does not have: use device: auto.")
    return torch.device(name)
