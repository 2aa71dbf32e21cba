"""The picture of the pipeline, and the page that it is on."""

import re

import yaml
from conftest import ROOT

from hybridvae.reporting.documents import documents
from hybridvae.reporting.pipeline import mermaid

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
BEGIN, END = "<!-- pipeline: begin (written by `make docs`) -->", "<!-- pipeline: end -->"


def test_a_matrix_is_one_box_and_only_direct_arrows_are_drawn():
    stages = {
        "split": {"outs": [{"data/${dataset}/fit": {"cache": False}}]},
        "code": {"outs": ["code.json"]},
        "fit": {
            "matrix": {"model": "${models}"},
            "deps": ["fit.py", "data/${dataset}"],
            "params": ["seed", {"code.json": ["models.${item.model}"]}],
            "outs": ["fits/${item.model}"],
        },
        "table": {"deps": ["fits", "data/${dataset}/fit"], "outs": ["table.csv"]},
        "lists": {"deps": ["fits/${best.model}"]},
        "alone": {"deps": ["fits2", "data/${dataset}2"]},
    }
    assert mermaid(stages).splitlines() == [
        "```mermaid",
        "flowchart LR",
        '    subgraph each ["for each model"]',
        '        fit["fit@MODEL"]',
        "    end",
        "    split --> fit",
        "    code --> fit",
        "    fit --> table",
        "    fit --> lists",
        "```",
    ]


def test_every_stage_is_in_the_picture_and_in_the_table_in_order():
    arrows = re.findall(r"(\w+) --> (\w+)", mermaid(STAGES))
    assert {name for arrow in arrows for name in arrow} == set(STAGES)
    assert ("embed", "validate") in arrows and ("train", "recommend") in arrows
    page = (ROOT / "docs/pipeline.md").read_text()
    assert re.findall(r"^\| `(\w+)(?:@M)?` \|", page, re.MULTILINE) == list(STAGES)
    assert "`dvc dag --md`" in page


def test_the_picture_is_wherever_there_is_a_place_for_it():
    texts = documents(ROOT)
    for page in (ROOT / "README.md", ROOT / "docs/pipeline.md"):
        assert f"{BEGIN}\n\n{mermaid(STAGES)}\n{END}\n" in texts[page]
