"""Fits of one configuration, or encodings of the same texts, at a time, on one cache, some of them killed."""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from faults.project import make_project, prepare, pretend_to_encode, run_all
from faults.running import Check, Ended, Fault, Results, Tried, ended, fork, forked, in_workers, random_of
from hybridvae.data import embedding
from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.evaluation.judge import ValidationNDCG
from hybridvae.files import sha256_of, write_arrays
from hybridvae.models import Context, FitState, create

CASES = 100
TRIED = "two fits of one configuration, or encodings of the same texts, at a time on one cache, half of them with kills"
COUNTS = "one that ends in an error; weights or vectors other than those of one alone; state that is left behind"
BLOCKS: dict[str, dict[str, Any]] = {
    "hybridvae": {"latent_dim": 8, "hidden_dims": [16], "linear_dim": 4, "epochs": 60, "patience": 60},
    "multvae": {"latent_dim": 8, "hidden_dim": 16, "epochs": 60, "patience": 60},
    "lightgcn": {"embedding_dim": 8, "epochs": 40, "patience": 40, "validate_every": 2},
}
KINDS = (*BLOCKS, "texts")


def run(cases: Sequence[int], seed: int, work: Path) -> Results:
    """See `hybridvae.models._training`. A case is two fits."""
    yield from in_workers(partial(checker, seed), cases, work / "fits", processes=1, limit=300)


def checker(seed: int, folder: Path) -> Check:
    """What checks a case; it makes the data, and fits each model once undisturbed."""
    prepare()
    pretend_to_encode()
    os.environ["HYBRIDVAE_CACHE"] = str(folder / "cache")
    project = folder / "project"
    make_project(project, folder / "data", models=["popularity"])
    run_all(project, folder, models=["popularity"])
    return checker_in(project, seed, folder)


def checker_in(project: Path, seed: int, folder: Path) -> Check:
    """What checks a case in a project of the data set `tiny` that is split and embedded."""
    alone: dict[str, str] = {}

    def check(case: int) -> Tried:
        name = KINDS[case % len(KINDS)]
        if name not in alone:
            into = folder / f"{name}-alone"
            how = forked(partial(_fit, name, project, into, folder / f"{name}-own"), into)
            if how.code != 0:
                return Tried("failed", how.faults())
            alone[name] = sha256_of(into / "model.safetensors")
        return _together(name, project, folder, alone[name], random_of(seed, "fits", case))

    return check


def _fit(name: str, project: Path, into: Path, cache: Path) -> None:
    """As the stage validate fits, or embed encodes."""
    if name == "texts":
        texts = [f"text number {number}" for number in range(400)]
        vectors = embedding.embed_texts(texts, embedding.EmbedConfig(batch_size=2), cache=cache)
        write_arrays(into / "model.safetensors", {"vectors": vectors})
        return
    state = FitState(cache / "fits")
    fit, file = project / "data/split/tiny/fit", project / "data/embed/tiny/items.safetensors"
    model = create(name, BLOCKS[name], Context(seed=1, device="cpu", state=state))
    interactions = read_interactions(fit, upto="train", vectors=file if model.needs_vectors else None)
    model.fit(interactions, validation=ValidationNDCG(interactions, read_targets(fit))).save(into)
    state.forget()


def _together(name: str, project: Path, folder: Path, expected: str, random: Random) -> Tried:
    """Two fits at a time until both have ended; a fit that was killed begins again."""
    cache, now = folder / "shared", time.monotonic()
    begin = {0: now, 1: now + random.choice([0.0, 0.05, 0.3])}  # which of the two -> when
    kill_at = sorted(now + random.uniform(0.1, 1.5) for _ in range(random.choice([0, 0, 1, 3])))
    kills = 0
    running: dict[int, int] = {}  # process -> which
    faults: list[Fault] = []
    while running or begin:
        for which in [which for which, when in begin.items() if time.monotonic() >= when]:
            del begin[which]
            into = folder / f"fit-{which}"
            shutil.rmtree(into, ignore_errors=True)
            running[fork(partial(_fit, name, project, into, cache), into)] = which
        if kill_at and running and time.monotonic() > kill_at[0]:
            kill_at.pop(0)
            kills += 1
            os.kill(random.choice(sorted(running)), signal.SIGKILL)
        pid, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        if pid == 0:
            time.sleep(0.002)
        elif os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
            begin[running.pop(pid)] = time.monotonic()
        else:
            into = folder / f"fit-{running.pop(pid)}"
            wrong = _wrong(ended(status, into), into, expected)
            faults += [Fault(fault.kind, f"{name}: {fault.said}") for fault in wrong]
    if not faults and (left := [str(path.relative_to(cache)) for path in cache.glob("fits/**/*") if path.is_file()]):
        faults.append(Fault("state is left behind", f"{name}: {', '.join(left)}"[:200]))
    shutil.rmtree(cache, ignore_errors=True)
    how = "both alike, with kills" if kills else "both alike"
    return Tried("failed" if faults else how, faults)


def _wrong(how: Ended, into: Path, expected: str) -> list[Fault]:
    if how.code != 0:
        return how.faults() or [Fault("a refusal", how.said[-200:])]
    found = sha256_of(into / "model.safetensors")
    return [] if found == expected else [Fault("other weights than alone", f"{found[:12]}, alone {expected[:12]}")]
