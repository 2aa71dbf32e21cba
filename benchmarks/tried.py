"""What was tried of each model on a data set, as docs/benchmarks/tuning/<dataset>.json keeps it."""

from collections.abc import Collection, Mapping
from pathlib import Path

from hybridvae.config import Block
from hybridvae.dependencies import fingerprint, model_file
from hybridvae.errors import UnreadableFileError
from hybridvae.experiments.grid import Grid, names_of
from hybridvae.files import read_json
from hybridvae.progress import warn

PREPARED_BY = ("clean", "split", "text", "embed")  # blocks of params.yaml that decide what models are fitted on


def tried_before(
    tuning: Path, data: Block, grids: Mapping[str, Grid], *, anew: Collection[str]
) -> dict[str, list[Block]]:
    """Of each model what the tuning file holds, if there is one.

    Args:
        data: "raw_sha256", and "prepared", the blocks of parameters that decide what models are fitted on.
        grids: model -> what a search varies of it.
        anew: the models that are tuned now; of these, tries by older code count no more.

    Raises:
        UnreadableFileError: the file is of other data, or a try in it says nothing of a parameter of today's grid,
            which would get today's default when that try is chosen.
    """
    if not tuning.exists():
        return {}
    known = read_json(tuning)
    if known["raw_sha256"] != data["raw_sha256"]:
        raise UnreadableFileError(
            f"{tuning} is of raw data with another sha256: move it away, so that tuning begins anew."
        )
    if other := [block for block, values in data["prepared"].items() if known.get("prepared", {}).get(block) != values]:
        raise UnreadableFileError(
            f"{tuning} is of data prepared with other values of {', '.join(other)}: "
            "move it away, so that tuning begins anew."
        )
    tried: dict[str, list[Block]] = known["models"]
    for model, entries in tried.items():
        names = names_of(grids.get(model, {}))
        if missing := {name for name in names for entry in entries if name not in entry["parameters"]}:
            raise UnreadableFileError(
                f"{tuning} has tries of {model} that say nothing of {', '.join(sorted(missing))}, "
                "which is newer in grid.search than they are: add the values they had."
            )
    return with_code_of_today(tried, anew=anew)


def code_of(model: str) -> str:
    """A hash over the code that a model is made of."""
    return fingerprint(model_file(model))


def with_code_of_today(tried: dict[str, list[Block]], *, anew: Collection[str]) -> dict[str, list[Block]]:
    """The tries without those of models that are tuned `anew` and whose code has changed since.

    Of other models such tries count, which is said.
    """
    kept = {model: [entry for entry in tried[model] if entry.get("code") == code_of(model)] for model in tried}
    old = [model for model in tried if len(kept[model]) < len(tried[model])]
    if gone := [model for model in old if model in anew]:
        warn(f"what was tried of {', '.join(gone)} before their code changed does not count any more.")
    if stale := [model for model in old if model not in anew]:
        warn(f"{', '.join(stale)} changed since they were tuned: `--tune {' '.join(stale)}` tunes them anew.")
    return tried | {model: kept[model] for model in gone}


def with_earlier(tried: list[Block], earlier: list[Block]) -> list[Block]:
    """What was tried now, and then what only an earlier grid had: both count, and the best of both is chosen."""
    parameters = [entry["parameters"] for entry in tried]
    return tried + [entry for entry in earlier if entry["parameters"] not in parameters]
