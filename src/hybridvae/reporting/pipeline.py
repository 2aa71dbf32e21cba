"""The picture of the pipeline, from dvc.yaml: a stage that runs once a model is one box, where `dvc dag` draws many."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hybridvae.freshness import path_of, within

_ANY_MODEL = re.compile(r"\$\{[^}]+\.model\}")  # of a matrix, and the one that recommends


def mermaid(stages: Mapping[str, Any]) -> str:
    """The stages as a Mermaid block for Markdown, the ones that run for each model in a frame.

    An arrow leads from a stage to one that reads what it writes. Where a longer way leads there too, it is left out.

    Args:
        stages: what dvc.yaml has under `stages`.
    """
    needs = {name: set(_needed(name, stages)) for name in stages}
    matrix = [name for name, stage in stages.items() if "matrix" in stage]
    lines = ["```mermaid", "flowchart LR"]
    if matrix:
        boxes = [f'        {name}["{name}@MODEL"]' for name in matrix]
        lines += ['    subgraph each ["for each model"]', *boxes, "    end"]
    for name in stages:
        direct = [one for one in needs[name] if not any(_leads(one, other, needs) for other in needs[name] - {one})]
        lines += [f"    {one} --> {name}" for one in stages if one in direct]
    return "\n".join([*lines, "```", ""])


def _needed(name: str, stages: Mapping[str, Any]) -> Iterator[str]:
    """The stages that write what a stage reads, as data or as parameters."""
    stage = stages[name]
    files = [file for param in stage.get("params", []) if isinstance(param, Mapping) for file in param]
    read = [_for_any_model(path) for path in [*stage.get("deps", []), *files]]
    for other, of_other in stages.items():
        outs = [path_of(out) for kind in ("outs", "metrics", "plots") for out in of_other.get(kind, [])]
        written = map(_for_any_model, outs)
        if other != name and any(within(out, path) or within(path, out) for out in written for path in read):
            yield other


def _for_any_model(path: str) -> str:
    return _ANY_MODEL.sub("MODEL", path)


def _leads(one: str, other: str, needs: Mapping[str, set[str]]) -> bool:
    """Whether a way leads from one stage to another."""
    return one in needs[other] or any(_leads(one, before, needs) for before in needs[other])
