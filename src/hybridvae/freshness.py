"""Which figures in a folder are of its own parameters and code, as dvc.lock has it; what is another run's can go.

An experiment of DVC begins with all files of the commit that it starts from. Those that it does not make again are in
its own commit as well, and `dvc exp show` and `dvc plots diff` would show them as its own.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hybridvae.config import Block, value_at
from hybridvae.files import read_json, read_yaml, write_json

_ABSENT = object()


def drop_figures_of_others(root: Path, running: str) -> list[Path]:
    """Empty the metrics and delete the plots that are not of the parameters and code in a folder.

    They are those that `dvc exp show` and `dvc plots` read from git, of stages that would have to run again anyway.
    What the running stage reads or makes stays.

    Args:
        running: the stage that runs now, e.g. "validate@ease".

    Returns:
        What was emptied or deleted.
    """
    pipeline = _Pipeline(root)
    read = pipeline.deps(running) if running in pipeline.stages else []
    dropped = []
    for name in pipeline.stages:
        if name == running or pipeline.is_fresh(name):
            continue
        for path, is_metric in pipeline.shown(name):
            file = root / path
            if not file.is_file() or any(within(path, folder) for folder in read):
                continue
            if not is_metric:
                file.unlink()
            elif read_json(file):
                write_json(file, {})  # DVC shows "-" for it, and an error for a file that is not there
            else:
                continue
            dropped.append(file)
    return dropped


class _Pipeline:
    """dvc.yaml with its parameters filled in, beside what dvc.lock says of each stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params: Block = read_yaml(root / "params.yaml")
        self.dvc: Block = read_yaml(root / "dvc.yaml")
        lock = root / "dvc.lock"
        self.lock: Block = (read_yaml(lock) or {}).get("stages", {}) if lock.is_file() else {}
        self._fresh: dict[str, bool] = {}

    @cached_property
    def stages(self) -> Block:
        """Name -> stage, those of a matrix one by one."""
        found = {}
        for name, stage in self.dvc["stages"].items():
            if "matrix" in stage:
                for model in self.params["models"]:
                    found[f"{name}@{model}"] = _filled(stage, self.params | {"item": {"model": model}})
            else:
                found[name] = _filled(stage, self.params)
        return found

    @cached_property
    def _plotted(self) -> set[str]:
        """The files of the plots that stand under `plots` in dvc.yaml."""
        plots = _filled(self.dvc.get("plots", []), self.params)
        return {path for plot in plots for of_plot in plot.values() for path in of_plot["y"]}

    @cached_property
    def _makers(self) -> dict[str, str]:
        return {path: name for name in self.stages for path in self.outs(name)}

    @cached_property
    def _made(self) -> dict[str, str]:
        return {out["path"]: out["md5"] for stage in self.lock.values() for out in stage.get("outs", [])}

    def deps(self, name: str) -> list[str]:
        """What a stage reads."""
        return list(self.stages[name].get("deps", []))

    def outs(self, name: str) -> list[str]:
        """What a stage makes."""
        return [path_of(out) for kind in ("outs", "metrics", "plots") for out in self.stages[name].get(kind, [])]

    def shown(self, name: str) -> Iterator[tuple[str, bool]]:
        """The files of a stage that DVC shows, and whether they are metrics and not plots."""
        for kind in ("outs", "metrics", "plots"):
            for path in map(path_of, self.stages[name].get(kind, [])):
                if kind != "outs" or path in self._plotted:
                    yield path, kind == "metrics"

    def is_fresh(self, name: str) -> bool:
        """Whether no parameter, code or data of a stage, or of the model's stages before it, is another than it had."""
        if name not in self._fresh:
            # Of a stage before the models it is not known yet whether it will make anything else when it runs again.
            before = {maker for dep in self.deps(name) for path, maker in self._makers.items() if within(path, dep)}
            models = sorted(maker for maker in before if "@" in maker)
            self._fresh[name] = self._is_as_locked(name) and all(map(self.is_fresh, models))
        return self._fresh[name]

    def _is_as_locked(self, name: str) -> bool:
        stage, locked = self.stages[name], self.lock.get(name, {})
        read = {dep["path"]: dep.get("md5") for dep in locked.get("deps", [])}
        if read.keys() != set(self.deps(name)):
            return False
        for path, md5 in read.items():
            file = self.root / path
            if path in self._made:
                if self._made[path] != md5:
                    return False
            elif file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                return False
        for param in stage.get("params", []):
            for file_name, keys in param.items() if isinstance(param, Mapping) else [("params.yaml", [param])]:
                values = self.params if file_name == "params.yaml" else read_yaml(self.root / file_name)
                was = locked.get("params", {}).get(file_name, {})
                if any(was.get(key, _ABSENT) != value_at(values, key) for key in keys or values):
                    return False
        return True


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """What stands in dvc.yaml with its ${...} replaced."""
    if isinstance(template, str):
        return re.sub(r"\$\{([^}]+)\}", lambda found: str(value_at(values, found[1])), template)
    if isinstance(template, Mapping):
        return {_filled(key, values): _filled(value, values) for key, value in template.items()}
    return [_filled(value, values) for value in template] if isinstance(template, list) else template


def path_of(out: str | Mapping[str, Any]) -> str:
    """The path of an output in dvc.yaml, which stands alone or before its options."""
    return out if isinstance(out, str) else next(iter(out))


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(f"{folder}/")
