"""The judge's protocols: their names in files and columns, and how they are called."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ProtocolName = Literal["sampled", "full", "cold"]
PROTOCOLS: tuple[ProtocolName, ...] = ("sampled", "full", "cold")


@dataclass(frozen=True)
class Titles:
    """How a protocol is called: in a sentence, at the head of a narrow column, over a panel of a figure."""

    sentence: str
    column: str
    panel: str


# Where people read, choices are made on the full ranking, so it comes before the sampled one.
READING_ORDER: tuple[ProtocolName, ...] = ("cold", "full", "sampled")
ABLATED: tuple[ProtocolName, ...] = ("full", "sampled")  # by which the variants of an ablation are shown


def titles(protocol: ProtocolName, judged: Mapping[str, Any]) -> Titles:
    """How a protocol is called where results stand.

    Args:
        judged: the results: what `metrics/<part>/<model>.json` or a report holds, with "negatives", how many a target
            had, in which all models agree. Older files lack it, and then no number is named.
    """
    if protocol == "full":
        return Titles("full ranking", "full", "Full ranking")
    if protocol == "cold":
        return Titles("among cold items", "among cold items", "Among new items alone")
    if (counts := judged.get("negatives")) is None:
        return Titles("among sampled negatives", "among negatives", "Among sampled negatives")
    low, high = counts["min"], counts["max"]
    number = f"{high:,}" if low == high else f"{low:,} to {high:,}"
    return Titles(f"among {number} sampled negatives", f"among {number}", f"Among {number} sampled negatives")


def shared_protocols(models: Iterable[Mapping[str, Any]]) -> list[ProtocolName]:
    """The protocols by which every model was judged.

    Args:
        models: what `metrics/<part>/<model>.json` holds of each.
    """
    models = list(models)
    return [name for name in PROTOCOLS if all(name in of_model for of_model in models)]
