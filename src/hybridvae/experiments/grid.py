"""Lists the combinations of a grid, and writes the best one into params.yaml."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hybridvae.config import Block
from hybridvae.errors import BadParameterError
from hybridvae.files import atomic_path
from hybridvae.seeds import random_generator

Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]


def block_of(params: Block, model: str) -> Block:
    """A model's block of parameters, which may be empty.

    Raises:
        BadParameterError: there is no model of the name.
    """
    if model not in params["models"]:
        known = ", ".join(params["models"])
        raise BadParameterError(f"there is no model {model!r}: `models` in params.yaml has {known}.")
    block: Block = params[model] or {}
    return block


def points(grid: Grid) -> list[Block]:
    """Every combination of the grid's values; of several grids, one after the other, those of each."""
    grids = [grid] if isinstance(grid, Mapping) else grid
    found: list[Block] = []
    for one in grids:
        for values in product(*one.values()):
            point = dict(zip(one, values, strict=True))
            if point not in found:
                found.append(point)
    return found


def names_of(grid: Grid) -> list[str]:
    """The parameters of a grid, or of several."""
    return list(dict.fromkeys(name for point in points(grid) for name in point))


def in_seeded_order(model: str, blocks: Sequence[Block], seed: int) -> list[Block]:
    """Points of a model's grid, shuffled; the same way for all data sets."""
    return [blocks[index] for index in random_generator(seed, "grid", model).permutation(len(blocks))]


def configurations(model: str, block: Block, grid: Grid, *, at_most: int, seed: int) -> list[Block]:
    """The block itself, then points of the grid as whole blocks in a seeded order."""
    others = in_seeded_order(model, [block | point for point in points(grid)], seed)
    return [block, *(other for other in others if other != block)][:at_most]


def write_parameters(path: Path, changes: Mapping[str, Any]) -> None:
    """Change values of params.yaml, single ones or blocks key by key; its comments and layout stay."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(type(None), lambda out, _: out.represent_scalar("tag:yaml.org,2002:null", "null"))
    params = yaml.load(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if params[name].get(key) != inner:  # a list that stays keeps its layout
                    params[name][key] = inner
        elif params[name] != value:
            params[name] = value
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(params, file)
