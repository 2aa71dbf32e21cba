"""What the repository says of itself must be true."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from hybridvae.config import parse_config
from hybridvae.data.cleaning import CleanConfig
from hybridvae.data.embedding import EmbedConfig
from hybridvae.data.engine import EngineConfig
from hybridvae.data.item_text import TextConfig
from hybridvae.data.sources import datasets
from hybridvae.data.splitting import SplitConfig
from hybridvae.evaluation.intervals import EvaluationConfig
from hybridvae.recommendations import RecommendConfig
from hybridvae.reporting.documents import documents

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
SOURCES = yaml.safe_load((ROOT / "sources.yaml").read_text())
README = (ROOT / "README.md").read_text()


def test_the_documents_show_the_committed_results():
    for path, text in documents(ROOT).items():
        assert path.read_text() == text, f"{path} is not what `make docs` writes"


def test_params_hold_every_knob_and_no_other():
    blocks = {"clean": CleanConfig, "split": SplitConfig, "text": TextConfig, "embed": EmbedConfig}
    blocks |= {"engine": EngineConfig, "evaluation": EvaluationConfig, "recommend": RecommendConfig}
    blocks |= {name: importlib.import_module(f"hybridvae.models.{name}").Config for name in PARAMS["models"]}
    for name, config in blocks.items():
        parsed = parse_config(config, PARAMS[name], where=name)
        assert set(PARAMS[name]) == set(vars(parsed)), name
        if name not in PARAMS["models"]:  # of models the library has the published values, and params.yaml tuned ones
            assert parsed == config(), f"{name}: params.yaml and the library's defaults differ"
    assert set(PARAMS) == {"dataset", "seed", "device", "processes", "models", "grid", "ablation", *blocks}


def test_nothing_lies_at_the_top_but_what_belongs_there():
    said = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {path.partition("/")[0] for path in said.splitlines()}
    folders = {"benchmarks", "data", "docs", "metrics", "plots", "src", "stages", "store", "tests"}
    ours = {
        "Dockerfile",
        "Makefile",
        "dvc.lock",
        "dvc.yaml",
        "params.yaml",
        "pyproject.toml",
        "requirements.lock",
        "sources.yaml",
    }
    words = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "NOTICE", "README.md"}
    assert {name for name in top if not name.startswith(".")} <= folders | ours | words


def test_the_readme_names_files_and_stages_that_exist():
    for path in re.findall(r"\]\((plots/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    for dataset in re.findall(r"`(amazon20\d\d-\w+)`", README):
        assert dataset in datasets(SOURCES)


def test_dvc_plots_what_a_person_compares_and_keeps_each_run_restorable():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert len(pipeline["plots"]) == 5
    template = json.loads((ROOT / ".dvc/plots/hidden.json").read_text())
    assert template["usermeta"]["hidden"] and template["data"]["values"] == "<DVC_METRIC_DATA>", "which DVC demands"
    for name in ("validate", "evaluate"):  # DVC restores a run only if what it does not cache is a metric or a plot
        stage = pipeline["stages"][name]
        assert not [out for out in stage["outs"] if isinstance(out, dict)]
        assert [next(iter(plot.values())) for plot in stage["plots"]] == [{"cache": False, "template": "hidden"}]


def test_heavy_libraries_are_imported_late():
    code = "import sys, hybridvae.__main__, hybridvae.data.sources, hybridvae.data.splitting; "
    code += "import hybridvae.evaluation.comparison; "
    code += "print(sorted({'torch', 'sentence_transformers', 'matplotlib', 'dvc', 'pyspark'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))])
def test_links_lead_to_what_exists(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if not path.startswith(("http:", "https:")):
            target = page if not path else page.parent / path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_readme_is_read_to_the_end():
    text = README.replace("|", " ")
    assert len(text.split()) <= 1800 and len(README.splitlines()) <= 220
