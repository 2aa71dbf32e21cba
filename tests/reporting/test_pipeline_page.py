"""The picture of the pipeline, and the page that it is on."""

import re
import shutil

import pytest
import yaml
from conftest import ROOT

from hybridvae.errors import UnreadableFileError
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


def test_the_picture_is_in_the_readme_where_it_has_a_place_for_it(tmp_path):
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    (tmp_path / "docs/benchmarks").mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / "docs/pipeline.md", tmp_path / "docs")
    readme = re.sub(rf"{re.escape(BEGIN)}.*?{END}", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "README.md").write_text(readme)
    assert "mermaid" not in documents(tmp_path)[tmp_path / "README.md"]
    (tmp_path / "README.md").write_text(f"{readme}\n{BEGIN}\n{END}\n")
    texts = documents(tmp_path)
    assert texts[tmp_path / "README.md"].endswith(f"{BEGIN}\n\n{mermaid(STAGES)}\n{END}\n")
    assert mermaid(STAGES) in texts[tmp_path / "docs/pipeline.md"]
    (tmp_path / "docs/pipeline.md").write_text("# The pipeline")
    with pytest.raises(UnreadableFileError, match=r"docs/pipeline\.md has no place for pipeline"):
        documents(tmp_path)
