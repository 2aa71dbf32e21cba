"""What `train` ships: a folder that says what it is, and can be used with nothing else at hand.

Beside what the model's `save` wrote lie `checkpoint.json` (the model's name), `items.parquet` (the catalogue) and the
model card, `README.md` (Mitchell et al. 2019, "Model Cards for Model Reporting").
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hybridvae.arrays import top_k
from hybridvae.data.interactions import Interactions
from hybridvae.evaluation.protocols import READING_ORDER, titles
from hybridvae.files import write_frame, write_json, write_text
from hybridvae.models import Recommender


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from, for its card.

    Attributes:
        source: the data set's block in `sources`, with hashes and licence.
        parameters: the model's block.
        epochs: how many it was fitted for; 0 for a model without epochs.
        text_fields: what the text encoder read of each item; empty for a model that reads no text.
        validation: the figures on the validation part, as `summarise` gives them.
    """

    dataset: str
    split: str
    seed: int
    source: Mapping[str, Any]
    parameters: Mapping[str, Any]
    epochs: int
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
    write_frame(folder / "items.parquet", catalogue)
    about = {"model": name, "dataset": origin.dataset, "users_sha256": users_sha256(interactions)}
    write_json(folder / "checkpoint.json", about)
    write_text(folder / "README.md", model_card(name, model, interactions, origin))


def users_sha256(interactions: Interactions) -> str:
    """Who the users are, and in which order: a model that takes no histories knows them by their place alone."""
    return hashlib.sha256("\n".join(interactions.users).encode()).hexdigest()


def model_card(name: str, model: Recommender, interactions: Interactions, origin: Origin) -> str:
    """The Markdown that says what a fitted model is, what it was fitted on, how good it is and how to load it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    about = (sys.modules[type(model).__module__].__doc__ or name).strip().split("\n\n")[0]
    example = interactions.items[top_k(interactions.item_counts[None], 3)[0]].tolist()
    template = Environment(loader=PackageLoader("hybridvae"), undefined=StrictUndefined, keep_trailing_newline=True)
    return template.get_template("model_card.md.j2").render(
        name=name,
        title=about.partition(":")[0],
        about=about,
        users=interactions.n_users,
        items=interactions.n_items,
        positives=interactions.positives.nnz,
        folds_in=model.folds_in,
        hashes={key: value for key, value in origin.source.items() if key.endswith("sha256")},
        protocols={name: titles(name, origin.validation).sentence for name in READING_ORDER},
        interval=lambda figure: f"{figure['mean']:.4f} ({figure['low']:.4f}-{figure['high']:.4f})",
        example=example,
        **vars(origin),
    )
