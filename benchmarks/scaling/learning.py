"""Fits: seconds of an epoch, memory under a limit, quality of the sampled softmax."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
from command import REPOSITORY

from hybridvae.config import parse_config
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.embedding import EmbedConfig, embed_texts
from hybridvae.data.engine import EngineConfig
from hybridvae.data.interactions import Interactions, Targets, read_interactions, read_targets
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.data.sources import declared, fetch
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.device import choose_device
from hybridvae.errors import HybridVAEError, explained
from hybridvae.evaluation.judge import ValidationNDCG
from hybridvae.files import cache_folder
from hybridvae.memory import check_memory
from hybridvae.models import Context, FitState, create
from scaling.drawn import HISTORY, drawn, hybridvae

Measured = dict[str, Any]
_SHORT = {"epochs": 1, "iterations": 1, "n_epochs": 1}  # where only memory is looked at


def epoch(folder: Path, *, positives: int, items: int) -> Measured:
    """The second epoch of HybridVAE: the first has what happens once in it."""
    interactions = drawn(max(1, positives // HISTORY), items)
    ends: list[float] = []
    hybridvae(epochs=2).fit(interactions, on_epoch=lambda *_: ends.append(time.perf_counter()))
    seconds, found = ends[1] - ends[0], interactions.positives.nnz
    return {"seconds": seconds, "positives": found, "seconds_a_million": seconds * 1e6 / found}


def memory(folder: Path, *, model: str, users: int, items: int, limit: int) -> Measured:
    """Fit a model for one epoch as the stage `validate` does, and ask it; what it says where it does not fit."""
    block = REPOSITORY.params[model] or {}
    unfitted = create(model, block | {key: one for key, one in _SHORT.items() if key in block}, Context())
    interactions = drawn(users, items)
    if not unfitted.needs_vectors:
        interactions = replace(interactions, item_vectors=None)
    if os.environ.get("SCALE_WATCHED"):  # no control group says how much is left
        left = limit - psutil.Process().memory_info().rss
        os.environ["HYBRIDVAE_MEMORY"] = str(max(1, left) / 1e9)
    start = time.perf_counter()
    try:
        check_memory(model, unfitted.needs(interactions), unfitted.if_too_large)
        unfitted.fit(interactions).scores(np.arange(min(8, users)))
    except (HybridVAEError, MemoryError) as error:
        said = explained(error) or str(error)
        return {"seconds": time.perf_counter() - start, "outcome": "refused", "said": said}
    return {"seconds": time.perf_counter() - start, "outcome": "fitted", "said": ""}


def sampled(folder: Path, *, dataset: str, softmax_items: int) -> Measured:
    """Validation NDCG@10 of HybridVAE with so many items drawn for a step's softmax; 0 for all."""
    params = REPOSITORY.params
    interactions, targets = _data_set(folder, dataset)
    state = FitState(cache_folder() / "fits")
    block = params["hybridvae"] | {"softmax_items": softmax_items}
    model = create("hybridvae", block, Context(params["seed"], params["device"], state))
    ndcg = ValidationNDCG(interactions, targets)
    start = time.perf_counter()
    model.fit(interactions, validation=ndcg)
    seconds = time.perf_counter() - start
    figure = ndcg(model)
    state.forget()
    return {"seconds": seconds, "ndcg@10": figure, "items": interactions.n_items, "epochs": model.chosen["epochs"]}


def _data_set(folder: Path, dataset: str) -> tuple[Interactions, Targets]:
    """The training part with the vectors of its texts, and the targets of the validation part."""
    params, work = REPOSITORY.params, folder / dataset
    local = os.environ.get("HYBRIDVAE_DATA")
    given = Path(local).expanduser() if local else None
    engine = parse_config(EngineConfig, params["engine"], where="engine")
    shutil.rmtree(work, ignore_errors=True)
    fetch(declared(REPOSITORY.catalogue, dataset), work / "raw", cache=cache_folder(), local=given)
    clean(work / "raw", work / "clean", parse_config(CleanConfig, params["clean"], where="clean"), engine)
    fit = work / "split" / "fit"
    split(work / "clean", work / "split", parse_config(SplitConfig, params["split"], where="split"), engine)
    texts = gather_item_texts(work / "clean", fit, parse_config(TextConfig, params["text"], where="text"), engine)
    embed = parse_config(EmbedConfig, params["embed"], where="embed")
    vectors = embed_texts(texts, embed, cache=cache_folder(), device=str(choose_device(params["device"])))
    return read_interactions(fit, upto="train", vectors=vectors), read_targets(fit)
