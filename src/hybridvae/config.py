"""Blocks of params.yaml as frozen dataclasses: unknown keys, wrong types and values out of range are errors.

A field says its range by its type: `k: Annotated[int, Within(0, 100)]`, for which the types below are short. Whatever
it says, a number is one that a model can compute with: no NaN, no infinity, nothing that float32 or int64 cannot hold.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hybridvae.errors import BadParameterError, UnreadableFileError, quoted
from hybridvae.files import read_json

Block = dict[str, Any]  # of params.yaml: parameter -> value
T = TypeVar("T")

_LARGEST: dict[type, float] = {int: 2**63 - 1, float: 3.4028234663852886e38}  # of int64 and float32


@dataclass(frozen=True)
class Within:
    """The range of a number: from `low` to `high`, and whether these two are in it; of a list, of its length.

    Attributes:
        high: None for the largest that there is.
    """

    low: float
    high: float | None = None
    above: bool = False  # low is not in it
    below: bool = False  # high is not in it

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        if value < self.low or (self.above and value == self.low):
            return False
        return self.high is None or value < self.high or (value == self.high and not self.below)

    def __str__(self) -> str:
        if self.high is None:
            return f"above {self.low:,}" if self.above else f"of {self.low:,} or more"
        if self.above:
            return f"above {self.low:,} and {'below' if self.below else 'at most'} {self.high:,}"
        return f"from {self.low:,} to {'below ' if self.below else ''}{self.high:,}"


Seed = Annotated[int, Within(0, 2**63 - 1)]
Count = Annotated[int, Within(1, 1_000_000)]
CountOrZero = Annotated[int, Within(0, 1_000_000)]
Epochs = Annotated[int, Within(1, 100_000)]
Width = Annotated[int, Within(1, 65_536)]  # of a layer, of a vector
Positive = Annotated[float, Within(0, above=True)]
NotNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
ShareBelowOne = Annotated[float, Within(0, 1, below=True)]
Recency = Annotated[float, Within(0, 100)]


@dataclass(frozen=True)
class Parameters:
    """What a frozen dataclass inherits to check its values however it is built.

    Raises:
        BadParameterError: a value has the wrong type or is out of its range.
    """

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            _convert(getattr(self, name), hint, f"{type(self).__name__}.{name}")


def parse_config(cls: type[T], block: Mapping[str, Any] | None, *, where: str) -> T:
    """Build the frozen dataclass `cls` from a block of parameters.

    Args:
        where: the block's name, for messages; empty for what stands in no block.

    Raises:
        BadParameterError: a key is unknown or missing, or a value has the wrong type or range.
    """
    if block is not None and not isinstance(block, Mapping):
        raise BadParameterError(f"{where} is {quoted(block)}: it must be a block of parameters.")
    values = {key: parse_value(cls, key, value, where=where) for key, value in (block or {}).items()}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise BadParameterError(f"{_joined(where, field.name)} is missing: add it.")
    try:
        return cls(**values)
    except ValueError as error:  # raised by a dataclass's own checks
        raise BadParameterError(f"{where}: {error}") from None


def parse_value(cls: type[Any], key: Any, value: Any, *, where: str) -> Any:
    """One value of a block, as the dataclass `cls` has it.

    Raises:
        BadParameterError: the key is unknown, or the value has the wrong type or range.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    if key not in known:
        name = key if isinstance(key, str) and key.isprintable() and len(key) <= 60 else quoted(key)
        raise BadParameterError(
            f"{_joined(where, name)} is not a parameter: the known ones are {', '.join(known) or 'none'}."
        )
    return _convert(value, get_type_hints(cls, include_extras=True)[key], _joined(where, key))


def read_config(cls: type[T], folder: Path) -> T:
    """The dataclass `cls` from the `config.json` of a saved model.

    Raises:
        UnreadableFileError: it is damaged, or has a parameter or a value that the model does not have.
    """
    path = folder / "config.json"
    try:
        return parse_config(cls, read_json(path), where=str(path))
    except BadParameterError as error:
        raise UnreadableFileError(f"{error} The checkpoint is damaged, or of another version.") from None


def value_at(params: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, such as "hybridvae.beta"; None where there is none."""
    value: Any = params
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def changed(params: Block, changes: Mapping[str, Any]) -> Block:
    """Parameters with the values of dotted keys changed; what was given stays as it is."""
    result = dict(params)
    for key, value in changes.items():
        name, _, rest = key.partition(".")
        result[name] = changed(result[name] or {}, {rest: value}) if rest else value
    return result


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`, widening int to float and list to tuple, and nothing else."""
    origin = get_origin(hint)
    if origin is Annotated:
        hint, *marks = get_args(hint)
        given, value = value, _convert(value, hint, where)
        for mark in marks:
            if isinstance(mark, Within) and not mark.holds(len(value) if isinstance(value, tuple) else value):
                what = (
                    f"a list of {mark.low} to {mark.high} values"
                    if isinstance(value, tuple)
                    else f"{_kind(hint)} {mark}"
                )
                raise BadParameterError(f"{where} is {quoted(given)}: it must be {what}.")
        return value
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        return None if value is None and type(None) in get_args(hint) else _convert(value, inner, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise BadParameterError(f"{where} is {quoted(value)}: it must be a list.")
        return tuple(_convert(element, get_args(hint)[0], where) for element in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise BadParameterError(f"{where} is {quoted(value)}: it must be a block.")
        return {key: _convert(one, get_args(hint)[1], f"{where}.{key}") for key, one in value.items()}
    _check(value, hint, where)
    return float(value) if hint is float else value


def _check(value: Any, hint: Any, where: str) -> None:
    """Refuse a single value that is not of its type, or a number that cannot be computed with."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise BadParameterError(f"{where} is {quoted(value)}: use one of {', '.join(map(str, get_args(hint)))}.")
        return
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (isinstance(value, hint) or (hint is float and whole)) or (isinstance(value, bool) and hint is not bool):
        raise BadParameterError(f"{where} is {quoted(value)}: it must be {_kind(hint)}.")
    if hint is float and not whole and not math.isfinite(value):
        raise BadParameterError(f"{where} is {quoted(value)}: it must be a finite number.")
    if hint in _LARGEST and abs(value) > _LARGEST[hint]:
        largest = "9.2e18 (2^63 - 1)" if hint is int else "3.4e38 (the largest of float32)"
        raise BadParameterError(f"{where} is {quoted(value)}: it must be {_kind(hint)} of at most {largest}.")


def _joined(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _kind(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]
