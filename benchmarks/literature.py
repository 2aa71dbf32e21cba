"""Our models by the literature's protocol, so that they can stand beside published figures.

    python benchmarks/literature.py FOLDER --seeds 3 --only ease,lightgcn --ties item_id,drawn

Amazon Beauty 2014, 5-core, every rating a positive: each user's last item is the test, the one before it validation. A
model is fitted on the training part alone, its epoch chosen by validation, and at test the history holds the validation
item too. All items that the user has not seen are ranked. `--ties random_433` splits at random instead, as AlphaRec
does, and then the history stays the training part.

Each fit is a row of docs/benchmarks/literature.json, written as soon as it is done, and `make docs` makes the page. The
command goes on from the rows that are there, and makes those again whose parameters, code or data have changed.
Settings for this data set stand in benchmarks/literature.yaml, published figures in benchmarks/published.yaml.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from beauty import Parts, clean_beauty, leave_one_out, random_433, read_parts, source
from command import REPOSITORY, RESULTS, ROOT

from hybridvae.arrays import FloatArray
from hybridvae.config import Block, parse_config
from hybridvae.data.embedding import EmbedConfig, embed_texts
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.dependencies import PACKAGE, fingerprint, model_file
from hybridvae.device import choose_device
from hybridvae.errors import BadParameterError, HybridVAEError, in_one_sentence
from hybridvae.evaluation.judge import CUTOFFS, Scores, ValidationNDCG, judge
from hybridvae.files import DECIMALS, cache_folder, read_json, read_yaml, write_json
from hybridvae.models import Context, EpochMetrics, FitState, FoldingRecommender, Recommender, create
from hybridvae.progress import name_stage, warn

TIES = ("item_id", "drawn", "random_433")
FIGURES = tuple(f"{metric}@{k}" for metric in ("hit", "recall", "ndcg") for k in CUTOFFS)
SETTINGS, PUBLISHED = ROOT / "benchmarks" / "literature.yaml", ROOT / "benchmarks" / "published.yaml"

Row = dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """A row to be: one model with one seed by one order of ties, and all else that decides its figures.

    Attributes:
        parameters: of the model, all of them.
        code: a hash over the code of the model and of the judge.
        data: a hash over the parts, and over the items' texts for a model that wants their vectors.
    """

    ties: str
    model: str
    seed: int
    parameters: Block
    code: str
    data: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What there is one row of."""
        return self.ties, self.model, self.seed

    def made(self, rows: Mapping[tuple[str, str, int], Row]) -> bool:
        """Whether a row is there that was decided by the same."""
        row = rows.get(self.key, {})
        return all(row.get(name) == value for name, value in asdict(self).items())


@dataclass(frozen=True)
class World:
    """The data by one order of ties: its parts, and the texts of its items (I,)."""

    parts: Parts
    texts: list[str]
    embed: EmbedConfig
    device: str

    def sha256(self, model: Recommender) -> str:
        """A hash over what such a model is fitted on and judged by.

        The vectors of the texts do not enter: their last digits are those of the processor.
        """
        seen: list[Any] = [self.parts.sha256]
        if model.needs_vectors:
            seen += [self.texts, asdict(self.embed)]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def vectors(self) -> FloatArray:
        """(I, D) vectors of the texts, each of which is encoded once ever."""
        return embed_texts(self.texts, self.embed, cache=cache_folder(), device=self.device)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Our models by the literature's protocol, beside published figures.")
    parser.add_argument("folder", nargs="?", help="in which beauty_2014_5core.jsonl.gz and its metadata lie")
    parser.add_argument("--seeds", type=int, default=3, help="of models that draw (default: %(default)s)")
    parser.add_argument("--only", help="these models alone, as in ease,lightgcn (default: all of params.yaml)")
    parser.add_argument("--ties", default="item_id,drawn", help=f"of {', '.join(TIES)} (default: %(default)s)")
    parser.add_argument(
        "--into", type=Path, default=RESULTS / "literature.json", help="the file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    with in_one_sentence("literature"):
        if arguments.folder is None:
            raise BadParameterError(
                "give the folder in which the reviews and the metadata lie: make literature DATA=..."
            )
        name_stage("literature")
        params = REPOSITORY.params
        only = chosen(arguments.only, params["models"], "--only") if arguments.only else params["models"]
        ties = chosen(arguments.ties, TIES, "--ties")
        if arguments.seeds < 1:
            raise BadParameterError(f"--seeds is {arguments.seeds}: it must be at least 1.")
        with tempfile.TemporaryDirectory(prefix="hybridvae-") as folder:
            clean_beauty(Path(arguments.folder).expanduser(), Path(folder), metadata=True)
            worlds = {one: world(Path(folder), one, params) for one in ties}
        report = Report(arguments.into, params, source(), worlds)
        fits = planned(params, settings(params), worlds, arguments.seeds)
        failed = report.fill([fit for fit in fits if fit.model in only])
        if old := sorted({fit.model for fit in fits if fit.key in report.rows and not fit.made(report.rows)}):
            warn(f"rows of {', '.join(old)} are older than parameters, code or data: run this without --only.")
        print(f"literature: {len(report.rows)} rows in {arguments.into}")
        if failed:
            raise HybridVAEError(f"{', '.join(failed)} failed (see above): mend them and run this command again.")


def chosen(given: str, known: Sequence[str], option: str) -> list[str]:
    """The names in an option, separated by commas.

    Raises:
        BadParameterError: one is not among the known.
    """
    names = [name.strip() for name in given.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise BadParameterError(f"{option} names {', '.join(unknown)}: it can name {', '.join(known)}.")
    return names


def world(work: Path, ties: str, params: Block) -> World:
    """Split what lies in `work/clean`, and read it with the texts of the items."""
    into = work / ties
    if ties == "random_433":
        random_433(work / "clean", into)
    else:
        leave_one_out(work / "clean", into, "item_id" if ties == "item_id" else "drawn")
    texts = gather_item_texts(work / "clean", into / "fit", parse_config(TextConfig, params["text"], where="text"))
    embed, device = parse_config(EmbedConfig, params["embed"], where="embed"), str(choose_device(params["device"]))
    return World(read_parts(into, grown=ties != "random_433"), texts, embed, device)


def settings(params: Block) -> dict[str, Block]:
    """Of each model the parameters: its block of params.yaml, with what literature.yaml changes."""
    changes = read_yaml(SETTINGS)
    return {model: (params[model] or {}) | changes.get(model, {}).get("parameters", {}) for model in params["models"]}


def planned(params: Block, blocks: Mapping[str, Block], worlds: Mapping[str, World], seeds: int) -> list[Fit]:
    """All fits: a seed after the other, and of each the cheap models before those that are fitted in epochs.

    Args:
        blocks: model -> its parameters.
        worlds: order of ties -> its data.
        seeds: how many a model has whose seed changes the outcome; others have one.
    """
    fits: list[Fit] = []
    costly: dict[str, tuple[bool, bool]] = {}
    for model, block in blocks.items():
        unfitted = create(model, block, Context())
        costly[model] = ("epochs" in block, unfitted.seeded)
        code = fingerprint(model_file(model), PACKAGE / "evaluation" / "judge.py")
        fits += [
            Fit(ties, model, params["seed"] + number, block, code, of_ties.sha256(unfitted))
            for number in range(seeds if unfitted.seeded else 1)
            for ties, of_ties in worlds.items()
        ]
    return sorted(fits, key=lambda fit: (fit.seed, costly[fit.model]))  # stable: otherwise as in params.yaml


class Report:
    """The file of rows: what it held before counts, and it is written after each row."""

    def __init__(self, path: Path, params: Block, data: Block, worlds: Mapping[str, World]) -> None:
        self.path = path
        self.params = params
        self.worlds = worlds
        self.origins = {model: of_model["from"] for model, of_model in read_yaml(SETTINGS).items()}
        any_world = next(iter(worlds.values())).parts.train
        self.head: Block = {
            "dataset": "beauty",
            "command": "make literature DATA=...",
            "data_sha256": data["reviews_sha256"],
            "metadata_sha256": data["metadata_sha256"],
            "users": any_world.n_users,
            "items": any_world.n_items,
            "of_params": params["models"],
        }
        before = read_json(path, "literature")["literature"] if path.is_file() else []
        known = [row for row in before if row["model"] in params["models"]]
        self.rows: dict[tuple[str, str, int], Row] = {(row["ties"], row["model"], row["seed"]): row for row in known}

    def fill(self, fits: Sequence[Fit]) -> list[str]:
        """Make the rows that are missing; returns the models that failed, each of which has said why."""
        failed: dict[str, None] = {}
        self.write()
        for fit in fits:
            if fit.made(self.rows):
                continue
            state = FitState(cache_folder() / "fits")
            try:
                outcome = run(fit, self.worlds[fit.ties], state, self.params["device"])
            except HybridVAEError as error:  # as where the memory is short: the other models go on
                warn(f"{fit.model}: {error}")
                failed[fit.model] = None
                continue
            commit = REPOSITORY.git("rev-parse", "HEAD").strip()
            origin = self.origins.get(fit.model)
            self.rows[fit.key] = asdict(fit) | {"settings_from": origin} | outcome | {"commit": commit}
            self.write()
            state.forget()
            print(said(self.rows[fit.key]), flush=True)
        return list(failed)

    def write(self) -> None:
        """Write the file."""
        order = {name: place for place, name in enumerate((*TIES, *self.params["models"]))}
        rows = sorted(self.rows.values(), key=lambda row: (order[row["ties"]], order[row["model"]], row["seed"]))
        write_json(self.path, self.head | {"published": read_yaml(PUBLISHED), "literature": rows})


def run(fit: Fit, data: World, state: FitState, device: str) -> Row:
    """Fit and judge: the figures, and what the fit took."""
    model = create(fit.model, fit.parameters, Context(fit.seed, device, state))
    parts = data.parts
    if model.needs_vectors:
        parts = replace(parts, train=replace(parts.train, item_vectors=data.vectors()))
    return judged(model, parts)


def judged(model: Recommender, parts: Parts) -> Row:
    """Fit an unfitted model on the training part, and judge it on the test.

    Returns:
        Figures, users and targets, the validation NDCG@10, the epoch it chose, and the seconds, threads and device of
        the fit. A fit that went on after a kill counts its seconds since then.
    """
    ndcg = ValidationNDCG(parts.train, parts.validation)
    history: list[EpochMetrics] = []
    start = time.perf_counter()
    model.fit(parts.train, validation=ndcg, on_epoch=lambda _, figures: history.append(figures))
    seconds = time.perf_counter() - start
    best = max((figures["ndcg@10"] for figures in history if "ndcg@10" in figures), default=None)
    scores = at_test(model, parts)
    per_user = judge(scores, parts.known, parts.test, protocols=("full",), lists=False).per_user
    device = getattr(model, "device", torch.device("cpu"))
    return {
        "figures": {name: round(float(per_user[f"full/{name}"].mean()), DECIMALS) for name in FIGURES},
        "users": len(per_user),
        "targets": len(parts.test.items),
        "validation_ndcg@10": round(ndcg(model) if best is None else best, DECIMALS),
        "epochs": model.chosen.get("epochs", 0),
        "epochs_run": len(history),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "folds_in": model.folds_in,
        "seeded": model.seeded,
    }


def at_test(model: Recommender, parts: Parts) -> Scores:
    """The scores of a fitted model at test: by the histories of then, or of the users as they were fitted."""
    if not model.folds_in:
        return model.scores
    scores_of: Callable[[Any], FloatArray] = cast(FoldingRecommender, model).scores_of
    return lambda users: scores_of(parts.known.histories[users])


def said(row: Row) -> str:
    """A row on one line."""
    figures, epochs = row["figures"], f", epoch {row['epochs']} of {row['epochs_run']}" if row["epochs_run"] else ""
    return (
        f"{row['model']:12} {row['ties']:10} seed {row['seed']}: HR@10 {figures['hit@10']:.4f}, NDCG@10 "
        f"{figures['ndcg@10']:.4f}, validation {row['validation_ndcg@10']:.4f}{epochs}, {row['seconds']:,.0f} s"
    )


if __name__ == "__main__":
    main()
