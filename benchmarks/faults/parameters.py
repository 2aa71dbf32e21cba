"""Senseless values of every parameter, through the configuration and, where it takes them, through the stages."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file

from faults.project import MODELS, make_project, prepare, pretend_to_encode, run_all, stage
from faults.running import Check, Fault, Results, Tried, checked, in_workers, random_of
from hybridvae.config import Block
from hybridvae.experiments.tuning import Limits, trials_of
from hybridvae.files import read_json, read_yaml, write_text
from hybridvae.models import Context, create
from hybridvae.parameters import read_params

CASES = 5_000
TRIED = "values of the parameters in turn, and those that are taken through the stages that read them"
COUNTS = (
    "an error without a sentence for people; a NaN or an infinity that is taken; figures or weights that are no numbers"
)
STAGES = {  # whichever read a block; of a model's block all that run it
    "dataset": [["fetch"]],
    "seed": [["validate", "hybridvae"]],
    "device": [["validate", "hybridvae"]],
    "models": [["compare"]],
    "clean": [["clean"], ["split"]],
    "split": [["split"]],
    "text": [["embed"]],
    "embed": [["embed"]],
    "evaluation": [["validate", "popularity"], ["evaluate", "popularity"], ["compare"]],
    "recommend": [["recommend"]],
}
MEMORY = 3 * 2**30  # bytes, beyond what the imports take
SECONDS = 12  # of the processor, a stage
ALSO_THROUGH_STAGES = 0.05  # of what the configuration refuses


def run(cases: Sequence[int], seed: int, work: Path) -> Results:
    """See `hybridvae.config` and `stages/`."""
    yield from in_workers(partial(checker, seed), cases, work / "parameters", limit=300)


def checker(seed: int, folder: Path) -> Check:
    """What checks a case; it makes a project in which each stage has run."""
    prepare()
    pretend_to_encode()
    os.environ["HYBRIDVAE_CACHE"], os.environ["HF_HUB_OFFLINE"] = str(folder / "cache"), "1"
    base = folder / "base"
    make_project(base, folder / "data")
    run_all(base, folder)
    params = read_yaml(base / "params.yaml")
    names = names_of(params)

    def check(case: int) -> Tried:
        name = names[case % len(names)]
        tried = Case(folder, base, params, name, random_of(seed, "parameters", case))
        return tried.configured() or tried.through_stages()

    return check


def names_of(params: Block) -> list[tuple[str, ...]]:
    """Every parameter, and every block, as a path of keys."""
    found: list[tuple[str, ...]] = []
    for key, value in params.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *rest) for rest in names_of(value)]
    return found


GONE, TWICE, MORE = "(gone)", "(twice)", "(another beside it)"  # what happens to the parameter, rather than a value
WORDS = (
    (".nan", ".inf", "-.inf", "1e400", "-1e400", "1e-320", "1e308", "1e39", "-1e39"),
    ("9" * 400, "-" + "9" * 400, "9" * 5000, "9223372036854775807", "9223372036854775808", "4294967296", "2147483648"),
    ("1000000000000", "100000000", "65536", "-2147483649", "0x7fffffffffffffff", "1_000"),
    ("true", "false", "null", "~", "''", "' '", "yes", "no", "on", "2024-01-01", "2024-01-01 00:00:00", "12:30:45"),
    ("[]", "{}", "[1, 2, 3]", "{a: 1}", "[[[1]]]", "{1: 2}", "!!set {a, b}", "!!binary aGVsbG8=", "!!omap []"),
    ("../../x", "/etc/passwd", "/", ".", "..", "~", "a/b", "-rf", "$HOME", "'${seed}'", "'a; rm x'", "'*'", "'%s'"),
    (
        "x" * 10_000,
        "'\\0'",
        '"\\0"',
        '"a\\nb"',
        '"\\U0001F600"',
        "日本語",
        '"\\u202e"',
        "'&amp;'",
        "'{{ x }}'",
        "a: b: c",
    ),
)


def nasty(random: Random, value: Any) -> str:
    """YAML for a value that few expect where `value` stands."""
    near: list[str] = [json.dumps([value]), json.dumps(str(value)), "-1", "0", "1"]
    if isinstance(value, float | int) and not isinstance(value, bool):
        others = (value + 1, -value, value * 1000, float(value), int(value), value / 3, value * 2, value / 1000)
        near += map(repr, (*others, math.nextafter(value, math.inf), math.nextafter(0, 1), 0.5, 1.0, 0.9999999, -1e-9))
    if isinstance(value, str):
        near += [value.upper(), f"{value} ", json.dumps(f"{value}\n"), f"[{value}, {value}]"]
    if isinstance(value, list):
        near += ["[]", "[[]]", json.dumps(value * 2), "[0]", "[-1]", "[1.5]", "[1, x]", "[.nan]", "[null]", "[true]"]
        near += ["[1000000000000]", json.dumps({"a": 1})]
    return random.choice(near if random.random() < 0.4 else random.choice([*WORDS, (GONE, TWICE, MORE)]))


class Case:
    """One parameter with one value."""

    def __init__(self, folder: Path, base: Path, params: Block, name: tuple[str, ...], random: Random) -> None:
        self._folder, self._base, self._name, self._random = folder, base, name, random
        usual = params
        for key in name:
            usual = usual[key]
        self._value = nasty(random, usual)
        self._text = _with_value(params, name, self._value)
        self._label = f"{'.'.join(name)}: {self._value[:60]}"

    def configured(self) -> Tried | None:
        """What the configuration alone says, which is quick; None where it takes the value, or to go on in any case."""
        path = self._folder / "params.yaml"
        write_text(path, self._text)
        params, refused = checked(lambda: read_params(path))
        if params is not None:
            refused = checked(lambda: self._used(params))[1]
            if self._value not in (GONE, TWICE, MORE) and _endless(params, self._name):
                refused.append(Fault("a NaN or an infinity is taken", ""))
        if refused or (params is None and self._random.random() > ALSO_THROUGH_STAGES):
            return self._labelled("refused", refused)
        return None

    def through_stages(self) -> Tried:
        """What the stages that read the parameter make of it."""
        block = self._name[0]
        of_model = [[step, block] for step in ("validate", "train", "evaluate")]
        steps = of_model if block in MODELS else STAGES.get(block, [])
        project = self._folder / "case"
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(self._base, project)
        write_text(project / "params.yaml", self._text)
        for step in steps:
            ended = stage(project, *step, said=self._folder, cpu=SECONDS, memory=MEMORY)
            if faults := ended.faults():
                return self._labelled("failed", [Fault(fault.kind, f"{step[0]}: {fault.said}") for fault in faults])
            if ended.code != 0:
                return self._labelled(
                    "stopped at the limit of time" if ended.code is None else "refused by a stage", []
                )
        return self._labelled("taken", list(_no_numbers(project)) if steps else [])

    def _labelled(self, outcome: str, faults: list[Fault]) -> Tried:
        return Tried(outcome, [Fault(fault.kind, f"{self._label}: {fault.said}"[:400]) for fault in faults])

    def _used(self, params: Block) -> None:
        """What no stage does: the trials of a grid, and each variant of the ablation."""
        block, *rest = self._name
        if block == "grid":
            grid = rest[0] if rest and rest[0] in ("search", "specified") else "search"
            model = rest[1] if len(rest) > 1 and rest[1] in MODELS else "hybridvae"
            trials, _ = trials_of(params, model, grid, Limits(None, None, 1))
            for trial in trials[:3]:
                values = {key.partition(".")[2]: value for key, value in trial.changes.items() if "." in key}
                create(model, {**params[model], **values}, Context(device="cpu"))
        if block == "ablation":
            for changes in params["ablation"].values():
                create("hybridvae", {**params["hybridvae"], **changes.get("hybridvae", {})}, Context(device="cpu"))


def _with_value(params: Block, name: tuple[str, ...], value: str) -> str:
    """params.yaml with the YAML `value` in the place of a parameter, or without it, or with it twice."""
    changed: Any = json.loads(json.dumps(params))
    inner = changed
    for key in name[:-1]:
        inner = inner[key]
    usual = inner[name[-1]]
    if value == GONE:
        del inner[name[-1]]
    elif value == MORE:
        inner[f"{name[-1]}_"] = usual
    else:
        inner[name[-1]] = "@VALUE@"
    text = yaml.safe_dump(changed, sort_keys=False, width=10**6)
    if value == TWICE:
        line = next(line for line in text.splitlines() if "@VALUE@" in line)
        return text.replace(line, f"{line}\n{line}").replace("'@VALUE@'", json.dumps(usual))
    return text.replace("'@VALUE@'", value)


def _endless(params: Any, name: tuple[str, ...]) -> bool:
    """Whether a value holds a NaN or an infinity."""
    for key in name:
        params = params[key]
    waiting = [params]
    while waiting:
        value = waiting.pop()
        waiting += value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
        if isinstance(value, float) and not math.isfinite(value):
            return True
    return False


def _no_numbers(project: Path) -> Iterator[Fault]:
    """Figures and weights that are no numbers, though nobody said so."""
    for path in sorted(project.glob("metrics/**/*.json")):
        waiting = [read_json(path)]
        while waiting:
            value = waiting.pop()
            waiting += value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
            if isinstance(value, float) and not math.isfinite(value):
                yield Fault("a figure is no number", str(path.relative_to(project)))
                break
    for path in sorted([*project.glob("data/train/**/*.safetensors"), *project.glob("data/embed/**/*.safetensors")]):
        for name, array in load_file(path).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                yield Fault("weights are no numbers", f"{name} in {path.relative_to(project)}")
                break
