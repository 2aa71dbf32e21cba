"""The results that `dvc repro` left in metrics/."""

from pathlib import Path
from typing import Any

from hybridvae.errors import UnreadableFileError
from hybridvae.files import read_json
from hybridvae.refusal import KEY


def refused(folder: Path) -> dict[str, str]:
    """The models that did not fit into the memory when the models were compared last, and the sentences that say so."""
    of_models: dict[str, str] = read_json(folder / "comparison.json").get(KEY, {})
    return of_models


def compared(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The metrics of the compared models, the tests of HybridVAE, and the pairs, from a folder of metrics.

    Comparisons made before there were pairs have none.

    Raises:
        UnreadableFileError: there was no comparison yet, or a model was judged again since, on other data.
    """
    if not (folder / "comparison.json").is_file():
        raise UnreadableFileError(f"{folder / 'comparison.json'} does not exist: run `dvc repro` first.")
    comparison = read_json(folder / "comparison.json", "models", "tests")
    files = {name: folder / "test" / f"{name}.json" for name in comparison["models"]}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise UnreadableFileError(f"{folder / 'test'} lacks {', '.join(missing)}: run `dvc repro` first.")
    test = {name: read_json(file, "dataset", "full", "sampled") for name, file in files.items()}
    if len(datasets := sorted({of_model["dataset"] for of_model in test.values()})) > 1:
        raise UnreadableFileError(f"{folder / 'test'} has figures of {' and '.join(datasets)}: run `dvc repro` first.")
    return test, comparison["tests"], comparison.get("pairs", {})
