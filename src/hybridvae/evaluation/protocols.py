"""The judge's protocols: their names in files and columns, and how they are called."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ProtocolName = Literal["sampled", "full", "cold"]


@dataclass(frozen=True)
class Titles:
    """How a protocol is called: in a sentence, at the head of a narrow column, over a panel of a figure."""

    sentence: str
    column: str
    panel: str


PROTOCOLS: dict[ProtocolName, Titles] = {
    "sampled": Titles("among sampled negatives", "among 99", "Among 99 sampled negatives"),
    "full": Titles("full ranking", "full", "Full ranking"),
    "cold": Titles("among cold items", "among cold items", "Among new items alone"),
}
# Where people read, choices are made on the full ranking, so it comes before the sampled one.
READING_ORDER: tuple[ProtocolName, ...] = ("cold", "full", "sampled")
ABLATED: tuple[ProtocolName, ...] = ("full", "sampled")  # by which the variants of an ablation are shown


def shared_protocols(models: Iterable[Mapping[str, Any]]) -> list[ProtocolName]:
    """The protocols by which every model was judged.

    Args:
        models: what `metrics/<part>/<model>.json` holds of each.
    """
    models = list(models)
    return [name for name in PROTOCOLS if all(name in of_model for of_model in models)]
