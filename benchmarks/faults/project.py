"""A repository with tiny data and tiny models, in which the stage scripts run as they are."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from command import ROOT

from faults.running import Ended, forked, run_script
from hybridvae.arrays import FloatArray
from hybridvae.data import embedding
from hybridvae.files import read_yaml, sha256_of, write_text

MODELS = (
    *("popularity", "content", "itemknn", "svd", "ials"),
    *("ease", "ease_text", "sasrec", "sasrec_text", "lightgcn", "alpharec", "multvae", "hybridvae"),
)
SMALL: dict[str, Any] = {
    "dataset": "tiny",
    "device": "cpu",
    "split": {"candidates": 10},
    "evaluation": {"bootstrap_resamples": 20, "permutations": 50},
    "svd": {"n_factors": 4, "n_epochs": 2},
    "ials": {"factors": 8, "iterations": 2},
    "sasrec": {"embedding_dim": 8, "epochs": 2, "validate_every": 1},
    "sasrec_text": {"embedding_dim": 8, "epochs": 2, "validate_every": 1},
    "alpharec": {"hidden_dim": 16, "embedding_dim": 8, "epochs": 2, "validate_every": 1},
    "multvae": {"latent_dim": 8, "hidden_dim": 16, "epochs": 2, "validate_every": 1},
    "lightgcn": {"embedding_dim": 8, "epochs": 2, "validate_every": 1},
    "hybridvae": {"latent_dim": 8, "hidden_dims": [16], "linear_dim": 4, "epochs": 2, "validate_every": 1},
}


def tiny_reviews(users: int = 30, items: int = 24) -> list[dict[str, Any]]:
    """Two tastes: users of either like items of their half; every review says a word of its item."""
    random = np.random.default_rng(7)
    records = []
    for user in range(users):
        half = user % 2
        liked = random.permutation(items // 2)[:9] + half * (items // 2)
        others = random.permutation(items // 2)[:2] + (1 - half) * (items // 2)
        rated = [(int(item), 5.0) for item in liked] + [(int(item), 2.0) for item in others]
        for order, index in enumerate(random.permutation(len(rated))):
            item, rating = rated[index]
            words = f"{'guitar' if item < items // 2 else 'kettle'} number {item}"
            record = {"user_id": f"u{user:03d}", "asin": f"i{item:03d}", "rating": rating, "title": words}
            records.append(
                record | {"text": f"I tried the {words}.", "timestamp": (1_400_000 + 86 * order) * 1_000_000}
            )
    return records


def make_project(folder: Path, data: Path, *, models: Sequence[str] = MODELS, **changes: dict[str, Any]) -> None:
    """The stage scripts, dvc.yaml and small parameters in `folder`, with the tiny data set in `data`."""
    data.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in tiny_reviews())
    write_text(data / "reviews.jsonl", lines)
    metadata = [{"asin": f"i{item:03d}", "title": f"Item {item}", "categories": ["A"]} for item in range(24)]
    write_text(data / "metadata.jsonl", "".join(json.dumps(record) + "\n" for record in metadata))
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    block = {"kind": "file"}
    for role in ("reviews", "metadata"):
        path = data / f"{role}.jsonl"
        block |= {role: str(path), f"{role}_sha256": sha256_of(path)}
    write_text(folder / "sources.yaml", yaml.safe_dump({"sources": {"tiny": block}}))
    params = read_yaml(ROOT / "params.yaml")
    recommend = {"model": models[-1]}
    for name, values in [*SMALL.items(), ("models", list(models)), ("recommend", recommend), *changes.items()]:
        params[name] = {**params[name], **values} if isinstance(values, dict) else values
    write_text(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False))


def prepare() -> None:
    """Import what stages import, so that a fork need not."""
    for name in ("dvclive", "implicit.cpu.als", "jinja2", "sklearn", "surprise"):
        import_module(name)
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    torch.optim.AdamW([weight], fused=True).step()


def pretend_to_encode() -> None:
    """Put vectors that a hash draws in the place of the text encoder's, which takes seconds to read."""

    def encode(texts: list[str]) -> FloatArray:
        rows = [np.random.default_rng(sum(text.encode())).standard_normal(384, dtype=np.float32) for text in texts]
        return np.stack(rows)

    embedding.load_encoder = lambda name, device: encode


def stage(project: Path, name: str, *arguments: str, said: Path, **limits: Any) -> Ended:
    """Run a stage's script in a fork."""
    return forked(run_script(project / "stages" / f"{name}.py", *arguments), said, **limits)


def command(project: Path, *arguments: str) -> Callable[[], None]:
    """What runs `python -m hybridvae arguments` in a project."""

    def work() -> None:
        os.chdir(project)
        sys.argv = ["hybridvae", *arguments]
        runpy.run_module("hybridvae", run_name="__main__")

    return work


def run_all(project: Path, said: Path, *, models: Sequence[str] = MODELS) -> None:
    """Run every stage, so that each finds what it reads."""
    steps = [["fetch"], ["clean"], ["split"], ["embed"]]
    steps += [[name, model] for model in models for name in ("validate", "train", "evaluate")]
    for step in [*steps, *([["compare"], ["recommend"]] if "hybridvae" in models else [])]:
        ended = stage(project, *step, said=said, cpu=120)
        if ended.code != 0:
            raise RuntimeError(f"{' '.join(step)} fails on undamaged data: {ended.said}")


def git_project(folder: Path) -> None:
    """Put a project under git and DVC."""
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "Torture", f"GIT_{role}_EMAIL": "torture@example.org"}
    for command_line in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "-m", "Start"],
    ):
        subprocess.run(command_line, cwd=folder, env=environment, check=True)
