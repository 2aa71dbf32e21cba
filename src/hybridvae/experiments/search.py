"""The search behind `make tune`, `make benchmark` and `make ablation`: trials on DVC's queue, kept as DVC experiments.

A *trial* is some stages of one model with some parameters changed. It is run once and becomes a DVC experiment, whose
name is a hash of its stages, code, data and parameters. The experiments are the record of what
was tried: `dvc exp show` and `make experiments` list them. A trial that any of these commands has run is not run again,
and a search that was stopped continues with the missing trials.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from tqdm import tqdm

from hybridvae.config import Block, changed, value_at
from hybridvae.costs import read_costs
from hybridvae.experiments.listing import validation_figure
from hybridvae.experiments.queue import Queue, Run
from hybridvae.files import cache_folder, sha256_of
from hybridvae.models import Context, create
from hybridvae.repository import Repository

# By the first stage of a trial the folders that its run needs and cannot get from the cache, which holds no ratings.
_HANDED_OVER = {"validate": ("data/split",), "embed": ("data/clean", "data/split")}


@dataclass(frozen=True)
class Trial:
    """Stages of a model that are run with some parameters changed.

    Attributes:
        changes: parameter -> value, as `dvc exp run --set-param` takes them, e.g. {"hybridvae.beta": 0.1, "seed": 43}.
        stages: which are run, in order; "embed" once for all models, the others for this one.
    """

    model: str
    changes: Mapping[str, Any]
    stages: tuple[str, ...] = ("validate",)

    @classmethod
    def of(cls, model: str, blocks: Mapping[str, Mapping[str, Any]], seed: int, stages: tuple[str, ...]) -> Self:
        """A trial of whole blocks of parameters, by name, with a seed."""
        values = {f"{block}.{key}": value for block, of_block in blocks.items() for key, value in of_block.items()}
        return cls(model, values | {"seed": seed}, stages)

    @property
    def targets(self) -> list[str]:
        """The stages as DVC calls them."""
        return [stage if stage == "embed" else f"{stage}@{self.model}" for stage in self.stages]

    def block(self, params: Block) -> Block:
        """The model's whole block of parameters.

        Raises:
            BadParameterError: a key is unknown or a value wrong.
        """
        block: Block = changed(params, self.changes)[self.model] or {}
        create(self.model, block, Context())
        return block


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        name: of its experiment.
        revision: the commit that holds its metrics and its lock; None where it failed or did not run.
        note: what a failed run said last, or why it did not run; empty otherwise.
        seconds: stage -> how long it took when it was last run on this machine with as many threads as now.
    """

    trial: Trial
    name: str
    revision: str | None
    note: str
    seconds: Mapping[str, float]


class Search:
    """Runs trials where the data are prepared: in the repository itself, or in a clone (see `workspace`)."""

    def __init__(self, repository: Repository, clone: Repository | None = None, *, jobs: int = 2) -> None:
        """A search.

        Args:
            repository: where experiments are looked up and kept.
            clone: where they run; by default in the repository.
            jobs: trials at a time, which share the cores.
        """
        self.repository, self.clone = repository, clone or repository
        self.jobs, self.threads = jobs, max(1, (os.cpu_count() or 1) // jobs)

    @cached_property
    def params(self) -> Block:
        """The parameters that trials change, as the clone has them."""
        return self.clone.params

    @cached_property
    def _stages(self) -> Block:
        stages: Block = self.clone.yaml("dvc.yaml")["stages"]
        return stages

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """Path -> hash of what stages made."""
        lock = self.clone.yaml("dvc.lock")
        return {out["path"]: out["md5"] for of in lock["stages"].values() for out in of.get("outs", [])}

    def run(self, trials: Sequence[Trial], *, label: str, minutes: float | None = None) -> list[Outcome]:
        """Run those trials that were never run; what runs is shown by a line of progress.

        Args:
            minutes: for each model, how long the whole machine may work on its `validate` runs, earlier runs of these
                trials counted; after that none of the model's trials starts. None for no limit.

        Raises:
            HybridVAEError: DVC refused; what was done until then is kept.
        """
        names = [self.name(trial) for trial in trials]
        named = dict(zip(names, trials, strict=True))
        self._collect()
        known = self._revisions()
        missing = [name for name in named if name not in known]
        tqdm.write(f"{label}: {len(named)} trials, {len(missing)} to run, {self.jobs} at a time")
        failed: dict[str, str] = {}

        def spent(names: set[str]) -> set[str]:
            """Which of the names that wait are of models whose time is over."""
            if minutes is None:
                return set()
            done = {one.name for one in (*self.repository.experiments(), *self.clone.experiments())}
            seconds, taken = self._seconds(), defaultdict[str, float](float)
            for name, trial in named.items():
                if name in done:
                    taken[trial.model] += seconds[self._key(trial)].get("validate", 0.0) / self.jobs
            return {name for name in names if taken[named[name].model] >= 60 * minutes}

        too_late = spent(set(missing))
        missing = [name for name in missing if name not in too_late]
        try:
            if missing:
                for name in missing:
                    named[name].block(self.params)  # a wrong key or value is worth no run
                queue, runs = Queue(self.clone), {name: self._as_run(named[name]) for name in missing}
                queue.submit(runs, label=label)
                failed = queue.work(runs, jobs=self.jobs, threads=self.threads, label=label, unwanted=spent)
        finally:
            self._collect()
        revisions, seconds = self._revisions(), self._seconds()
        notes = {name: failed.get(name, "" if name in revisions else "not run: the time was over") for name in named}
        return [
            Outcome(trial, name, revisions.get(name), notes[name], seconds[self._key(trial)])
            for name, trial in zip(names, trials, strict=True)
        ]

    def name(self, trial: Trial) -> str:
        """What the experiment of a trial is called: after its code, its data and its parameters."""
        params = changed(self.params, trial.changes)
        found: dict[str, Any] = {}
        written: set[str] = set()

        def filled(template: str) -> str:
            return template.replace("${item.model}", trial.model).replace("${dataset}", params["dataset"])

        for stage in trial.stages:
            of_stage = self._stages[stage]
            for path in map(filled, of_stage["deps"]):
                if path not in written:
                    file = self.clone.root / path
                    found[path] = sha256_of(file) if file.is_file() else self._hashes[path]
            for param in of_stage["params"]:
                for file_name, keys in param.items() if isinstance(param, Mapping) else [("params.yaml", [param])]:
                    values = params if file_name == "params.yaml" else self.clone.yaml(file_name)
                    found |= {f"{file_name}:{key}": value_at(values, key) for key in map(filled, keys)}
            for out in (out for kind in ("outs", "metrics", "plots") for out in of_stage.get(kind, [])):
                written.add(filled(out if isinstance(out, str) else next(iter(out))))
        digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
        return f"try-{trial.model}-{digest[:10]}"

    def figure(self, outcome: Outcome) -> float | None:
        """Validation NDCG@10, full ranking; None where the trial has none."""
        if outcome.revision is None:
            return None
        return validation_figure(self.repository, outcome.trial.model, outcome.revision)

    def _as_run(self, trial: Trial) -> Run:
        """A trial as DVC's queue takes it: what is set already need not be set, and what is not there is added."""
        changes = {}
        for key, value in trial.changes.items():
            block, _, name = key.rpartition(".")
            there = name in ((value_at(self.params, block) if block else self.params) or {})
            if not there or value_at(self.params, key) != value:
                changes[key if there else f"+{key}"] = value
        return Run(changes, trial.targets, _HANDED_OVER[trial.stages[0]])

    def _collect(self) -> None:
        """Move the experiments that were made in the clone to the repository."""
        if self.clone is not self.repository:
            self.repository.take_experiments(self.clone)

    def _revisions(self) -> dict[str, str]:
        """Name -> commit of every experiment of the repository."""
        return {one.name: one.revision for one in self.repository.experiments()}

    def _seconds(self) -> dict[str, dict[str, float]]:
        """By `_key` what the stages of a trial took when they were last run here: stage -> seconds."""
        found = defaultdict[str, dict[str, float]](dict)
        here = (self.params["dataset"], self.params["split"]["strategy"], str(self.threads))
        for cost in read_costs(cache_folder()):
            if (cost.dataset, cost.split, cost.threads) == here:
                key = json.dumps([cost.model, cost.seed, cost.parameters], sort_keys=True)
                found[key][cost.stage] = cost.seconds
        return found

    def _key(self, trial: Trial) -> str:
        params = changed(self.params, trial.changes)
        return json.dumps([trial.model, params["seed"], params[trial.model]], sort_keys=True)
