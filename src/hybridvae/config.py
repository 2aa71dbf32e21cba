"""Blocks of params.yaml as frozen dataclasses: unknown keys and wrong types are errors."""

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hybridvae.errors import BadParameterError, UnreadableFileError
from hybridvae.files import read_json

Block = dict[str, Any]  # of params.yaml: parameter -> value
T = TypeVar("T")


def parse_config(cls: type[T], block: Mapping[str, Any] | None, *, where: str) -> T:
    """Build the frozen dataclass `cls` from a block of parameters.

    Args:
        where: the block's name, for messages.

    Raises:
        BadParameterError: a key is unknown or missing, or a value has the wrong type or range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    if block is not None and not isinstance(block, Mapping):
        raise BadParameterError(f"{where} is {block!r}: it must be a block of parameters.")
    for key, value in (block or {}).items():
        if key not in fields:
            raise BadParameterError(
                f"{where}.{key} is not a parameter: the known ones are {', '.join(fields) or 'none'}."
            )
        values[key] = _convert(value, hints[key], f"{where}.{key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise BadParameterError(f"{where}.{name} is missing: add it.")
    try:
        return cls(**values)
    except ValueError as error:  # raised by a dataclass's own checks
        raise BadParameterError(f"{where}: {error}") from None


def read_config(cls: type[T], folder: Path) -> T:
    """The dataclass `cls` from the `config.json` of a saved model.

    Raises:
        UnreadableFileError: it has a parameter or a value that the model does not have.
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
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        return None if value is None and type(None) in get_args(hint) else _convert(value, inner, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise BadParameterError(f"{where} is {value!r}: use one of {', '.join(map(str, get_args(hint)))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise BadParameterError(f"{where} is {value!r}: it must be a list.")
        return tuple(_convert(element, get_args(hint)[0], where) for element in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise BadParameterError(f"{where} is {value!r}: it must be a block.")
        return {key: _convert(one, get_args(hint)[1], f"{where}.{key}") for key, one in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        kind = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]
        raise BadParameterError(f"{where} is {value!r}: it must be {kind}.")
    return value
