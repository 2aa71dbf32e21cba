"""Which module may import which, and what each stage's result hangs on, as the imports say it."""

import re
from graphlib import TopologicalSorter

import pytest
import yaml
from conftest import ROOT

from hybridvae import dependencies
from hybridvae.dependencies import PACKAGE, WITHOUT_EFFECT, fingerprint, imported, model_file, name_of, reached
from hybridvae.errors import BadParameterError

MODULES = [file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py"]  # which hands names on
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# From the ground up: a module imports from its own room and from those before it.
ROOMS = (
    (
        *("errors", "arrays", "files", "config", "seeds", "progress", "costs", "device"),
        *("dependencies", "freshness", "memory", "refusal", "repository"),
    ),
    ("data",),
    ("models",),
    ("evaluation",),
    ("checkpoint", "recommendations", "approximate", "parameters"),
    ("reporting",),
    ("experiments",),
    ("service",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def room_of(module):
    return name_of(module).partition("/")[0]


def test_no_import_runs_upward_and_none_in_a_circle():
    graph = {module: imported(module) for module in MODULES}
    upward = [
        (name_of(module), name_of(other))
        for module, others in graph.items()
        for other in others
        if FLOOR[room_of(other)] > FLOOR[room_of(module)]
    ]
    assert not upward
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # raises CycleError


def test_private_files_stay_in_their_room():
    strangers = [
        (name_of(module), name_of(other))
        for module in MODULES
        for other in imported(module)
        if other.name.startswith("_") and other.name != "__init__.py" and room_of(other) != room_of(module)
    ]
    assert not strangers


def test_nothing_imports_through_the_package_itself_which_stands_above_all():
    scripts = (ROOT / "stages").glob("*.py")
    through_it = re.compile(r"^\s*(from hybridvae import|import hybridvae\b)", re.MULTILINE)
    found = {name_of(file) for file in (*MODULES, *scripts) if through_it.search(file.read_text())}
    assert found == {"service/app"}, "it asks for the version alone"


def test_imports_are_read_wherever_they_stand(tmp_path):
    (tmp_path / "helper.py").write_text("import hybridvae.device\n")
    file = tmp_path / "script.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nimport numpy, hybridvae.seeds\nfrom hybridvae.data import sql\n"
        "if TYPE_CHECKING:\n    from hybridvae.service import app\nelse:\n    import helper\n"
        "def late():\n    from hybridvae.models import create\n"
    )
    found = {name_of(module) for module in imported(file)}
    assert found == {"seeds", "data/sql", "models/__init__", "helper.py"}
    further = {"arrays", "data/interactions", "device", "script.py"}
    assert {name_of(module) for module in reached(file)} == found | further, "errors and the like are left out"


def test_what_the_package_exports_counts_as_the_module_that_it_comes_from(tmp_path):
    file = tmp_path / "script.py"
    file.write_text("from hybridvae import Interactions, top_k, __version__\n")
    assert {name_of(module) for module in imported(file)} == {"arrays", "data/interactions"}
    file.write_text("import hybridvae as hv\n")
    assert {"arrays", "evaluation/judge", "recommendations"} < {name_of(module) for module in imported(file)}


def code_of(stage):
    """The Python of a stage's dependencies."""
    return {path for path in STAGES[stage]["deps"] if path.startswith(("stages/", "src/")) and not path.endswith(".j2")}


def expected(*files):
    return {path.relative_to(ROOT).as_posix() for file in files for path in reached(file)}


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "fingerprint"])
def test_a_stage_depends_on_what_its_script_reaches(stage):
    assert STAGES[stage]["desc"]
    assert code_of(stage) == expected(ROOT / "stages" / f"{stage}.py")
    takes_a_model = any("metrics/fingerprint.json" in param for param in STAGES[stage]["params"])
    assert takes_a_model == (stage in ("validate", "train", "evaluate", "recommend"))


def test_the_fingerprint_is_taken_again_when_the_code_of_any_model_changes():
    models = PACKAGE / "models"
    files = [model_file(file.stem) for file in models.glob("[!_]*.py")]
    outside = {path for path in expected(*files) if not path.startswith("src/hybridvae/models/")}
    script = ROOT / "stages" / "fingerprint.py"
    itself = "src/hybridvae/dependencies.py"
    assert code_of("fingerprint") == expected(script) | outside | {itself, "src/hybridvae/models"}


def test_what_has_no_effect_is_there_and_says_why():
    places = {"stage.py": ROOT / "stages" / "stage.py"}
    assert all(places.get(name, PACKAGE / f"{name}.py").is_file() and why for name, why in WITHOUT_EFFECT.items())


def test_the_code_of_one_model_leaves_the_others_as_they_are(tmp_path, monkeypatch):
    def prints():
        return {name: fingerprint(model_file(name)) for name in ("popularity", "multvae", "lightgcn", "hybridvae")}

    def changed_by(*parts):
        file = tmp_path.joinpath("hybridvae", *parts)
        before = prints()
        file.write_text(file.read_text() + "# another\n")
        return {name for name, one in prints().items() if one != before[name]}

    copy = tmp_path / "hybridvae"
    for module in PACKAGE.rglob("*.py*"):
        if module.suffix == ".pyc":
            continue
        (copy / module.relative_to(PACKAGE)).parent.mkdir(parents=True, exist_ok=True)
        (copy / module.relative_to(PACKAGE)).write_text(module.read_text())
    monkeypatch.setattr(dependencies, "PACKAGE", copy)
    assert changed_by("models", "_vae.py") == {"multvae", "hybridvae"}, "the loop of the VAEs is not Popularity's"
    assert changed_by("models", "_training.py") == {"multvae", "hybridvae", "lightgcn"}
    assert changed_by("models", "popularity.py") == {"popularity"}
    assert changed_by("data", "interactions.py") == set(prints())
    assert changed_by("progress.py") == changed_by("service", "app.py") == set()
    popularity = copy / "models" / "popularity.py"
    popularity.write_text("from hybridvae import top_k\nfrom ._vae import Bag\n" + popularity.read_text())
    assert changed_by("models", "_vae.py") == {"multvae", "hybridvae", "popularity"}
    assert "popularity" in changed_by("arrays.py")
    popularity.write_text("from hybridvae.models import create\n" + popularity.read_text())
    assert changed_by("models", "lightgcn.py") == {"lightgcn", "popularity"}, "which it creates is not known"
    with pytest.raises(BadParameterError, match=r"there is no model '_vae': .* popularity"):
        model_file("_vae")
