"""What `train` ships: a folder that says what it is, and can be used with nothing else at hand.

Beside what the model's `save` wrote lie `checkpoint.json` (the model's name, and the hashes of its files),
`items.parquet` (the catalogue) and the model card, `README.md` (Mitchell et al. 2019, "Model Cards for Model
Reporting"). Whoever loads a model goes through `read_checkpoint`, which checks the hashes first.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pyarrow.lib import ArrowException
from safetensors import SafetensorError

from hybridvae.arrays import top_k
from hybridvae.data.interactions import Interactions
from hybridvae.dependencies import model_file
from hybridvae.errors import (
    WRITTEN_AGAIN,
    BadParameterError,
    HybridVAEError,
    NotEnoughMemoryError,
    UnreadableFileError,
)
from hybridvae.evaluation.protocols import READING_ORDER, titles
from hybridvae.files import read_json, sha256_of, write_frame, write_json, write_text
from hybridvae.models import Context, Recommender, folds_in, load
from hybridvae.refusal import refusal_in

_DAMAGED = (  # what readers of damaged files raise
    *(OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError, SafetensorError, ArrowException),
    HybridVAEError,
)
_ABOUT, _CARD, _ITEMS = "checkpoint.json", "README.md", "items.parquet"


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from, for its card.

    Attributes:
        source: the data set's block in `sources`, with hashes and licence.
        parameters: the model's block.
        chosen: what validation chose in place of parameters, such as `epochs`; empty for a model without such.
        text_fields: what the text encoder read of each item; empty for a model that reads no text.
        validation: the figures on the validation part, as `summarise` gives them.
    """

    dataset: str
    split: str
    seed: int
    source: Mapping[str, Any]
    parameters: Mapping[str, Any]
    chosen: Mapping[str, float]
    text_fields: tuple[str, ...]
    text_encoder: str
    validation: Mapping[str, Any]


def write_checkpoint(folder: Path, name: str, model: Recommender, interactions: Interactions, origin: Origin) -> None:
    """Write a fitted model with its name, its catalogue (item_id, title) and its card.

    Args:
        interactions: what the model was fitted on.
    """
    model.save(folder)
    catalogue = pd.DataFrame({"item_id": interactions.items, "title": interactions.titles})
    write_frame(folder / _ITEMS, catalogue)
    files = sorted(path.name for path in folder.glob("[!.]*") if path.is_file() and path.name not in (_ABOUT, _CARD))
    about = {"model": name, "dataset": origin.dataset, "users_sha256": users_sha256(interactions)}
    write_json(folder / _ABOUT, about | {"files_sha256": {file: sha256_of(folder / file) for file in files}})
    write_text(folder / _CARD, model_card(name, model, interactions, origin))


@contextmanager
def readable(path: Path, command: str) -> Iterator[None]:
    """Say of a damaged file which one it is and how to make it again, whatever its reader says.

    Raises:
        UnreadableFileError: it cannot be read.
    """
    again = f"run `dvc checkout --force`, or `{command}`"
    try:
        yield
    except UnreadableFileError as error:  # which names the file, and not yet the command
        raise UnreadableFileError(str(error).replace(WRITTEN_AGAIN, again)) from error
    except _DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UnreadableFileError(f"{path} cannot be read ({reason}): {again}.") from error


def describe_checkpoint(folder: Path, known: Interactions | None = None) -> tuple[str, Interactions]:
    """Which model a checkpoint is and of which users and items; its files are checked, and the model not loaded.

    Args:
        known: the users, in the order in which the model was fitted on them, and their histories; None for the
            catalogue alone.

    Returns:
        The model's name, and `known` or the catalogue.

    Raises:
        UnreadableFileError: the folder holds no checkpoint, a damaged one, or one of others than `known`.
    """
    if not (folder / _ABOUT).is_file():
        raise UnreadableFileError(f"{folder} holds no {_ABOUT}: run `dvc repro train@MODEL`, or `dvc pull`.")
    with readable(folder, "dvc repro train@MODEL"):
        about = read_json(folder / _ABOUT)
        name, users = str(about["model"]), about["users_sha256"]
    again = f"dvc repro train@{name}"
    with readable(folder, again):
        _check(folder, about)
        items = pd.read_parquet(folder / _ITEMS)
        ids, titles = (items[column].to_numpy(dtype=object) for column in ("item_id", "title"))
        if known is None:
            return name, Interactions.without_users(ids, titles)
    if not np.array_equal(known.items, ids):
        raise UnreadableFileError(f"{folder} was fitted on other items than these: run `{again}`.")
    if known.n_users and not folds_in(name) and users != users_sha256(known):
        raise UnreadableFileError(f"{folder} was fitted on other users than these: run `{again}`.")
    return name, known


def read_checkpoint(
    folder: Path, known: Interactions | None, context: Context
) -> tuple[str, Recommender, Interactions]:
    """The name, the model and the users or the catalogue of a checkpoint, as `describe_checkpoint` has and checks them.

    Raises:
        UnreadableFileError: as there.
        NotEnoughMemoryError: there is none, since the model did not fit into the memory.
    """
    if sentence := refusal_in(folder):
        raise NotEnoughMemoryError(sentence)
    name, known = describe_checkpoint(folder, known)
    with readable(folder, f"dvc repro train@{name}"):
        return name, load(name, folder, known, context), known


def _check(folder: Path, about: Mapping[str, Any]) -> None:
    """Raise a ValueError, whose message is the reason, unless every file is as it was written."""
    try:
        model_file(about["model"])
    except BadParameterError:
        raise ValueError(f"{_ABOUT} names a model that there is not") from None
    if not isinstance(hashes := about.get("files_sha256"), dict):
        raise ValueError(f"{_ABOUT} has no hashes of the files, as of an older version")
    for file, wanted in hashes.items():
        if not (folder / file).is_file():
            raise ValueError(f"{file} is missing")
        if sha256_of(folder / file) != wanted:
            raise ValueError(f"{file} is damaged: its hash is not the one in {_ABOUT}")


def users_sha256(interactions: Interactions) -> str:
    """Who the users are, and in which order: a model that takes no histories knows them by their place alone."""
    return hashlib.sha256("\n".join(interactions.users).encode()).hexdigest()


def model_card(name: str, model: Recommender, interactions: Interactions, origin: Origin) -> str:
    """The Markdown that says what a fitted model is, what it was fitted on, how good it is and how to load it.

    It begins with metadata in YAML, as Hugging Face reads them. No seconds are in it: what `train` writes is the same
    in each run.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    about = (sys.modules[type(model).__module__].__doc__ or name).strip().split("\n\n")[0]
    title = about.partition(":")[0]
    example = interactions.items[top_k(interactions.item_counts[None], 3)[0]].tolist()
    template = Environment(loader=PackageLoader("hybridvae"), undefined=StrictUndefined, keep_trailing_newline=True)
    return template.get_template("model_card.md.j2").render(
        metadata=yaml.safe_dump(_metadata(name, title, origin), sort_keys=False, allow_unicode=True, width=120),
        name=name,
        title=title,
        about=about,
        users=interactions.n_users,
        items=interactions.n_items,
        positives=interactions.positives.nnz,
        folds_in=model.folds_in,
        device=getattr(getattr(model, "device", None), "type", "cpu"),
        hashes={key: value for key, value in origin.source.items() if key.endswith("sha256")},
        protocols={name: titles(name, origin.validation).sentence for name in READING_ORDER},
        interval=lambda figure: f"{figure['mean']:.4f} ({figure['low']:.4f}-{figure['high']:.4f})",
        example=example,
        **vars(origin),
    )


def _metadata(name: str, title: str, origin: Origin) -> dict[str, Any]:
    """What Hugging Face reads at the top of a card. It has no `pipeline_tag`, as none stands for recommendation."""
    reads_text = bool(origin.text_fields)
    about: dict[str, Any] = {
        "library_name": "hybridvae",
        "license": "other",  # the code's licence is MIT; the terms of the data bind whoever uses what was learned
        "license_name": "terms-of-the-data",
        "license_link": "README.md#data",
        "datasets": [origin.dataset],
    }
    if reads_text and (encoder := _on_the_hub(origin.text_encoder)) is not None:
        about["base_model"] = encoder
    about["metrics"] = ["ndcg", "recall"]
    about["tags"] = ["recommender", "collaborative-filtering", *(["sentence-transformers"] if reads_text else []), name]
    figures = [
        {
            "type": metric.partition("@")[0],
            "name": f"{words}, {titles(protocol, origin.validation).sentence}",
            "value": round(origin.validation[protocol][metric]["mean"], 4),
        }
        for protocol in READING_ORDER
        if protocol in origin.validation
        for metric, words in (("ndcg@10", "NDCG@10"), ("recall@10", "Recall@10"))
    ]
    result = {
        "task": {"type": "recommendation", "name": "Top-N recommendation"},
        "dataset": {
            "type": origin.dataset,
            "name": f"{origin.dataset}, {origin.split} split, validation part",
            "split": "validation",
        },
        "metrics": figures,
    }
    return about | {"model-index": [{"name": f"{title} on {origin.dataset}", "results": [result]}]}


def _on_the_hub(encoder: str) -> str | None:
    """The full name of a text encoder there; None for a folder."""
    if encoder.startswith((".", "/", "~")) or encoder.count("/") > 1 or Path(encoder).is_dir():
        return None
    return encoder if "/" in encoder else f"sentence-transformers/{encoder}"
