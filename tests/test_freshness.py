"""Figures of another run go, and figures that are up to date stay."""

import hashlib
import json

import pytest
import yaml

from hybridvae.freshness import drop_figures_of_others

PIPELINE = {
    "stages": {
        "split": {"cmd": "x", "params": ["data"], "outs": ["data/split/${data}", "metrics/split.json"]},
        "fit": {
            "matrix": {"model": "${models}"},
            "cmd": "x",
            "deps": ["fit.py", "data/split/${data}"],
            "params": ["data", "seed", "${item.model}"],
            "outs": ["data/fit/${item.model}"],
            "metrics": [{"metrics/fit/${item.model}.json": {"cache": False}}],
        },
        "test": {
            "matrix": {"model": "${models}"},
            "cmd": "x",
            "deps": ["data/fit/${item.model}"],
            "plots": [{"metrics/test/${item.model}.json": {"cache": False}}],
        },
        "table": {"cmd": "x", "deps": ["metrics/test"], "outs": ["plots/table.csv", "plots/table.png"]},
    },
    "plots": [{"bars": {"y": {"plots/table.csv": "model"}}}],
}
PARAMS = {"data": "small", "seed": 1, "models": ["a", "b"], "a": {"k": 1}, "b": {"k": 1e-05}}
FIGURES = {f"metrics/{stage}/{model}.json" for stage in ("fit", "test") for model in "ab"} | {"plots/table.csv"}


@pytest.fixture
def root(tmp_path):
    """A folder in which all stages ran with PARAMS."""

    def md5(text):
        return hashlib.md5(text.encode()).hexdigest()

    lock = {"split": {"params": {"params.yaml": {"data": "small"}}, "outs": [{"path": "data/split/small", "md5": "s"}]}}
    for model in "ab":
        params = {"data": "small", "seed": 1, model: PARAMS[model]}
        lock[f"fit@{model}"] = {
            "deps": [{"path": "fit.py", "md5": md5("code")}, {"path": "data/split/small", "md5": "s"}],
            "params": {"params.yaml": params},
            "outs": [{"path": f"data/fit/{model}", "md5": f"f{model}"}],
        }
        lock[f"test@{model}"] = {"deps": [{"path": f"data/fit/{model}", "md5": f"f{model}"}]}
    lock["table"] = {"deps": [{"path": "metrics/test", "md5": "t.dir"}]}
    for name in (*FIGURES, "plots/table.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"ndcg": 0.5}')
    (tmp_path / "fit.py").write_text("code")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": lock}))
    return tmp_path


def dropped(root, running="split", **params):
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS | params))
    return {path.relative_to(root).as_posix() for path in drop_figures_of_others(root, running)}


def test_what_is_up_to_date_stays(root):
    assert dropped(root) == set()
    assert dropped(root, models=["b", "a"]) == set()


def test_a_parameter_takes_the_figures_of_its_models_and_what_is_made_of_them(root):
    of_a = {"metrics/fit/a.json", "metrics/test/a.json", "plots/table.csv"}
    assert dropped(root, a={"k": 2}) == of_a
    assert json.loads((root / "metrics/fit/a.json").read_text()) == {}, "a metric is empty: DVC prints no error for it"
    assert not (root / "metrics/test/a.json").exists() and (root / "metrics/test/b.json").exists()
    assert (root / "plots/table.png").exists(), "DVC does not show it"


@pytest.mark.parametrize("change", [{"data": "large"}, {"seed": 2}])
def test_a_parameter_of_all_takes_all(root, change):
    assert dropped(root, **change) == FIGURES


def test_code_and_data_take_their_figures_too(root):
    (root / "fit.py").write_text("other code")
    assert dropped(root) == FIGURES


def test_other_data_take_their_figures_once_they_are_made(root):
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    lock["stages"]["split"]["outs"][0]["md5"] = "s2"
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert dropped(root) == FIGURES


def test_what_the_running_stage_reads_and_makes_stays(root):
    assert dropped(root, "fit@a", seed=2) == FIGURES - {"metrics/fit/a.json"}
    assert dropped(root, "fit@a", seed=2) == set(), "the rest is gone already"


def test_a_stage_may_read_the_figures_of_others(root):
    assert dropped(root, "table", seed=2) == {"metrics/fit/a.json", "metrics/fit/b.json"}


def test_without_a_lock_nothing_is_known_to_be_of_this_run(root):
    (root / "dvc.lock").unlink()
    assert dropped(root, "fit@a") == FIGURES - {"metrics/fit/a.json"}
