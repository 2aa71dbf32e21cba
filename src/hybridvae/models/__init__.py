"""What is a model: each is one file here, named like its block in params.yaml and its entry in `models`.

A model's file defines `Model`, which keeps the protocol of `_base`, and the frozen dataclass `Config`, which is its
block of parameters. Files that begin with an underscore are shared by several models.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from hybridvae.config import parse_config
from hybridvae.data.interactions import Interactions
from hybridvae.dependencies import model_file
from hybridvae.models._base import (
    Context,
    EpochMetrics,
    FitState,
    FoldingRecommender,
    IdentifiedValidation,
    OnEpoch,
    Recommender,
    Validation,
)

__all__ = [
    "Context",
    "EpochMetrics",
    "FitState",
    "FoldingRecommender",
    "IdentifiedValidation",
    "OnEpoch",
    "Recommender",
    "Validation",
    "create",
    "folds_in",
    "load",
]


def create(
    name: str, block: Mapping[str, Any] | None, context: Context, *, chosen: Mapping[str, float] | None = None
) -> Recommender:
    """The unfitted model `name` with its block of parameters.

    Args:
        chosen: parameters that take the place of the block's: what a fit with validation chose.

    Raises:
        BadParameterError: there is no such model, or its block has an unknown key or a wrong value.
    """
    module = _module(name)
    config = parse_config(module.Config, block, where=name)
    model: Recommender = module.Model(replace(config, **chosen) if chosen else config, context)
    return model


def load(name: str, folder: Path, interactions: Interactions, context: Context) -> Recommender:
    """The fitted model `name` from the folder it was saved to."""
    model: Recommender = _module(name).Model.load(folder, interactions, context)
    return model


def folds_in(name: str) -> bool:
    """Whether the model `name` takes histories of users whom it was not fitted on.

    Raises:
        BadParameterError: there is no such model.
    """
    return bool(_module(name).Model.folds_in)


def _module(name: str) -> Any:
    return import_module(f"hybridvae.models.{model_file(name).stem}")
