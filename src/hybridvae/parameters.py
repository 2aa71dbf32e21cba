"""params.yaml as a whole: what makes no sense is refused before the first stage works.

Each block is a dataclass beside the code that it is for, which says types and ranges (see `config`). Here is what only
the whole file shows: that no block is missing and none is unknown, that names in it lead to something, and that the
values of `grid` and `ablation` are values of the parameters that they stand for.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from hybridvae.config import Block, Parameters, Seed, Within, parse_config, parse_value
from hybridvae.dependencies import PACKAGE, model_file, model_names
from hybridvae.errors import BadParameterError, UnreadableFileError, quoted
from hybridvae.files import read_yaml, write_text

_NAME = re.compile(r"\w[\w .+-]{0,99}")  # of a data set: it becomes the name of a folder


@dataclass(frozen=True)
class _Single(Parameters):
    """What stands alone in params.yaml, outside of blocks."""

    dataset: str
    seed: Seed
    device: Literal["auto", "cpu", "cuda", "mps"]
    processes: Annotated[int, Within(1, 1024)]
    models: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _NAME.fullmatch(self.dataset):
            raise BadParameterError(
                f"dataset is {quoted(self.dataset)}: it must be a name of sources.yaml, and be fit for a folder."
            )
        if not self.models:
            raise BadParameterError("models is empty: name at least one.")
        for name in self.models:
            model_file(name)
        if twice := [name for place, name in enumerate(self.models) if name in self.models[:place]]:
            raise BadParameterError(f"models names {twice[0]} twice: name each once.")


@dataclass(frozen=True)
class _Budget(Parameters):
    configurations: Annotated[int, Within(1, 1_000_000)]
    minutes: Annotated[float, Within(0, 1_000_000, above=True)]


def read_params(path: Path, *, passed: Path | None = None) -> Block:
    """params.yaml, checked; its parameters as they stand there.

    Args:
        passed: file that keeps a hash of what was last found good, so that it is not checked again: the classes of
            the models take 1.5 s to import. None checks in any case.

    Raises:
        UnreadableFileError: there is no such file, or it is not YAML.
        BadParameterError: a parameter makes no sense.
    """
    if not path.is_file():
        raise UnreadableFileError(
            f"{path.parent.resolve()} has no {path.name}: run this in the folder of the repository."
        )
    params = read_yaml(path)
    if not isinstance(params, Mapping):
        found = "empty" if params is None else quoted(params)
        raise UnreadableFileError(f"{path.name} is {found}: it must hold the parameters, each after its name.")
    digest = hashlib.sha256(path.read_bytes())
    for module in sorted(PACKAGE.rglob("*.py")):
        digest.update(module.read_bytes())
    if passed is None or _content(passed) != digest.hexdigest():
        check_params(params)
        if passed is not None:
            with suppress(OSError):
                write_text(passed, digest.hexdigest())
    return dict(params)


def check_params(params: Mapping[str, Any]) -> None:
    """Refuse parameters that make no sense.

    Raises:
        BadParameterError: the first of them, with its place, its value and what it must be.
    """
    blocks = _blocks()
    single = [field.name for field in fields(_Single)]
    known = [*single, *blocks, *model_names(), "grid", "ablation"]
    if unknown := [key for key in params if key not in known]:
        raise BadParameterError(f"{quoted(unknown[0])} is no part of params.yaml: these are {', '.join(known)}.")
    models = parse_config(_Single, {key: params[key] for key in single if key in params}, where="").models
    for name in (*blocks, *models, "grid", "ablation"):
        if name not in params:
            raise BadParameterError(f"params.yaml lacks the block {name}: add it.")
    for name, config in blocks.items():
        parse_config(config, params[name], where=name)
        if missing := [field.name for field in fields(config) if field.name not in (params[name] or {})]:
            default = quoted(getattr(config(), missing[0]))
            raise BadParameterError(f"{name}.{missing[0]} is missing: add it; by default it is {default}.")
    if (recommend := params["recommend"]["model"]) not in models:
        raise BadParameterError(f"recommend.model is {quoted(recommend)}: use one of `models`, {', '.join(models)}.")
    for name in model_names():
        if name in params:
            parse_config(_model_config(name), params[name], where=name)
    _check_grid(_block(params["grid"], "grid"))
    for variant, changes in _block(params["ablation"], "ablation").items():
        for name, block in _block(changes, f"ablation.{variant}").items():
            where = f"ablation.{variant}.{name}"
            config = blocks[name] if name in blocks else _model_config(name, f"ablation.{variant}")
            for key, value in _block(block, where).items():
                parse_value(config, key, value, where=where)


def _blocks() -> dict[str, type[Parameters]]:
    """Block -> its dataclass, but for the models'."""
    from hybridvae.data.cleaning import CleanConfig
    from hybridvae.data.embedding import EmbedConfig
    from hybridvae.data.engine import EngineConfig
    from hybridvae.data.item_text import TextConfig
    from hybridvae.data.splitting import SplitConfig
    from hybridvae.evaluation.intervals import EvaluationConfig
    from hybridvae.recommendations import RecommendConfig

    return {
        "engine": EngineConfig,
        "clean": CleanConfig,
        "split": SplitConfig,
        "text": TextConfig,
        "embed": EmbedConfig,
        "evaluation": EvaluationConfig,
        "recommend": RecommendConfig,
    }


def _model_config(name: str, where: str = "") -> Any:
    try:
        return import_module(f"hybridvae.models.{model_file(name).stem}").Config
    except BadParameterError as error:
        raise BadParameterError(f"{where}: {error}" if where else str(error)) from None


def _check_grid(grid: Block) -> None:
    """The values one by one: whether they go together, the tuning finds before it runs any."""
    if missing := {"budget", "trial"} - set(grid):
        raise BadParameterError(f"grid.{min(missing)} is missing: add it.")
    for name, block in grid.items():
        where = f"grid.{name}"
        if name == "budget":
            parse_config(_Budget, block, where=where)
        elif name == "trial":
            for of_grid, values in _block(block, where).items():
                _check_trial(_block(values or {}, f"{where}.{of_grid}"), f"{where}.{of_grid}")
        else:
            for model, points in _block(block, where).items():
                config = _model_config(model, where)
                for key, value in _candidates(points, f"{where}.{model}"):
                    parse_value(config, key, value, where=f"{where}.{model}")


def _check_trial(values: Block, where: str) -> None:
    """A value of a trial is for the models that have its parameter, of which there must be one."""
    configs = [_model_config(model) for model in model_names()]
    for key, value in values.items():
        having = [config for config in configs if key in {field.name for field in fields(config)}]
        if not having:
            raise BadParameterError(f"{where}.{quoted(key).strip(chr(39))} is not a parameter of any model.")
        for config in having:
            parse_value(config, key, value, where=where)


def _candidates(points: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Parameter and value of every candidate of a model's grid: a block of lists, or a list of such blocks."""
    for one in points if isinstance(points, Sequence) and not isinstance(points, str) else [points]:
        for key, values in _block(one, where).items():
            if not isinstance(values, list) or not values:
                raise BadParameterError(f"{where}.{key} is {quoted(values)}: it must be a list of values.")
            for value in values:
                yield key, value


def _block(value: Any, where: str) -> Block:
    if not isinstance(value, Mapping):
        raise BadParameterError(f"{where} is {quoted(value)}: it must be a block.")
    return dict(value)


def _content(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    return None
