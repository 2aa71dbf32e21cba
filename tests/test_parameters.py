"""Parameters: what makes no sense is refused in one sentence, and before any work."""

import dataclasses
import datetime
import itertools
import math
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from hybridvae import parameters
from hybridvae.config import Within, changed, parse_config
from hybridvae.data.cleaning import CleanConfig
from hybridvae.data.splitting import SplitConfig
from hybridvae.dependencies import model_names
from hybridvae.errors import BadParameterError, HybridVAEError, UnreadableFileError
from hybridvae.parameters import check_params, read_params

TEXT = (ROOT / "params.yaml").read_text()
PARAMS = yaml.safe_load(TEXT)
NAN, INF = math.nan, math.inf


def refusal(work):
    with pytest.raises(HybridVAEError) as caught:
        work()
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 500
    return said


def test_the_file_as_it_stands_is_accepted():
    check_params(PARAMS)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("clean.max_reject_share", NAN, "clean.max_reject_share is nan: it must be a finite number."),
        ("clean.max_reject_share", 2, "clean.max_reject_share is 2: it must be a number from 0 to 1."),
        ("clean.min_user_ratings", -1, "it must be a whole number from 0 to 1,000,000"),
        ("clean.positive_rating", 6.0, "it must be a number from 1 to 5"),
        ("split.seed", -1, "split.seed is -1: it must be a whole number from 0"),
        ("split.cold_share", 0.5, "it must be a number above 0 and below 0.5"),
        ("split.held_out_share", 0.5, "held_out_share must be above 0 and at most 1/3"),
        ("split.test_cut", 0.6, "0 < validation_cut < test_cut < 1 must hold"),
        ("text.fields", ["title", "title"], "none twice"),
        ("text.fields", [], "at least one"),
        ("text.fields", ["colour"], "text.fields is 'colour': use one of title"),
        ("embed.model", " ", "it must be the name of a model, or a folder"),
        ("evaluation.permutations", 10**9, "it must be a whole number from 1 to 1,000,000"),
        ("evaluation.bootstrap_resamples", 0, "it must be a whole number from 1 to 100,000"),
        ("recommend.top_n", 10**6, "it must be a whole number from 1 to 100,000"),
        ("recommend.model", "../../x", "recommend.model is '../../x': use one of `models`"),
        ("models", ["ease", "ials"], "recommend.model is 'hybridvae': use one of `models`, ease, ials"),
        ("models", [], "models is empty"),
        ("models", "hybridvae", "models is 'hybridvae': it must be a list"),
        ("models", ["ease", "ease", "hybridvae"], "models names ease twice"),
        ("models", ["magic"], "there is no model 'magic'"),
        ("seed", True, "seed is true: it must be a whole number"),
        ("seed", 1.5, "seed is 1.5: it must be a whole number"),
        ("device", [], "device is []: use one of auto, cpu, cuda, mps"),
        ("device", "tpu", "device is 'tpu': use one of auto"),
        ("dataset", 2018, "dataset is 2018: it must be a text"),
        ("dataset", datetime.date(2018, 1, 2), "dataset is 2018-01-02: it must be a text"),
        ("dataset", "../x", "dataset is '../x': it must be a name of sources.yaml"),
        ("colour", 1, "'colour' is no part of params.yaml"),
        ("clean", None, "clean.positive_rating is missing"),
        ("clean", 5, "clean is 5: it must be a block"),
        ("content.k", 10**12, "content.k is 1000000000000: it must be a whole number from 0 to 1,000,000"),
        ("hybridvae.hidden_dims", [10**9], "hybridvae.hidden_dims is 1000000000: it must be a whole number from 1 to"),
        ("hybridvae.hidden_dims", [8] * 21, "it must be a list of 1 to 20 values"),
        ("lightgcn.epochs", 10**7, "it must be a whole number from 1 to 100,000"),
        ("lightgcn.layers", 1000, "it must be a whole number from 1 to 100"),
        ("grid.budget.minutes", 0, "grid.budget.minutes is 0: it must be a number above 0"),
        ("grid.trial.specified", {"colour": 1}, "grid.trial.specified.colour is not a parameter of any model"),
        ("grid.trial.specified", {"epochs": 0}, "grid.trial.specified.epochs is 0"),
        ("grid.search.magic", {}, "grid.search: there is no model 'magic'"),
        ("grid.search.ease.recency", 0.5, "grid.search.ease.recency is 0.5: it must be a list of values"),
        ("grid.search.ease.recency", [0.5, NAN], "grid.search.ease.recency is nan"),
        ("grid.search.ials", [{"factors": [256]}, {"colour": [1]}], "grid.search.ials.colour is not a parameter"),
        ("ablation.mine", {"hybridvae": {"beta": -1.0}}, "ablation.mine.hybridvae.beta is -1.0"),
        ("ablation.mine", {"magic": {"beta": 1.0}}, "ablation.mine: there is no model 'magic'"),
    ],
)
def test_nonsense_is_refused_with_its_place_and_what_it_must_be(key, value, words):
    assert words in refusal(lambda: check_params(changed(PARAMS, {key: value})))


def test_no_block_may_be_missing():
    for name in PARAMS:
        without = {key: value for key, value in PARAMS.items() if key != name}
        assert name in refusal(lambda without=without: check_params(without))


def test_what_works_is_not_forbidden():
    for changes in (
        {"hybridvae.hidden_dims": [256]},
        {"models": ["hybridvae", "ease"], "popularity": None},
        {"dataset": "amazon2023-All_Beauty", "clean.positive_rating": 1, "embed.model": "/a folder/of mine"},
        {"grid.mine": {"ease": {"recency": [0.0, 1]}}, "grid.trial.mine": {"epochs": 3}},
    ):
        check_params(changed(PARAMS, changes))


def test_no_parameter_takes_what_nothing_can_compute_with():
    nonsense = (NAN, INF, -INF, 10**400, -(10**400), 10**5000, datetime.date(2018, 1, 1), {"a": 1}, "x" * 100_000, None)
    blocks = parameters._blocks() | {name: parameters._model_config(name) for name in model_names()}
    tried = 0
    for name, config in blocks.items():
        for field, value in itertools.product(dataclasses.fields(config), nonsense):
            if value is None and (name, field.name) == ("hybridvae", "ease_weight"):  # which validation chooses
                continue
            if (name, field.name) != ("recommend", "model"):  # a name that is compared with those of `models`
                refusal(lambda c=config, f=field.name, v=value, n=name: parse_config(c, {f: v}, where=n))
                tried += 1
    assert tried > 600


def test_a_block_is_checked_however_it_is_built():
    assert "CleanConfig.max_reject_share is nan" in refusal(lambda: CleanConfig(max_reject_share=NAN))
    assert "SplitConfig.candidates is 0" in refusal(lambda: SplitConfig(candidates=0))
    with pytest.raises(BadParameterError):
        dataclasses.replace(CleanConfig(), min_item_ratings=-1)


@pytest.mark.parametrize(
    ("mark", "inside", "outside", "words"),
    [
        (Within(0, 1), (0, 0.5, 1), (-0.1, 1.1), "from 0 to 1"),
        (Within(0, 1, below=True), (0,), (1,), "from 0 to below 1"),
        (Within(0, 1, above=True), (1,), (0,), "above 0 and at most 1"),
        (Within(0, 0.5, above=True, below=True), (0.1,), (0, 0.5), "above 0 and below 0.5"),
        (Within(0), (0, 1e30), (-1e-30,), "of 0 or more"),
        (Within(0, above=True), (1e-30,), (0,), "above 0"),
    ],
)
def test_a_range_holds_what_it_says(mark, inside, outside, words):
    assert all(map(mark.holds, inside)) and not any(map(mark.holds, outside)) and str(mark) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "params.yaml is empty"),
        (b"- a\n- b\n", "params.yaml is ['a', 'b']: it must hold the parameters"),
        (b"seed: 1\nseed: 2\n", "line 2: this is not YAML (the key 'seed' stands twice in its block)"),
        (b"a:\n  b: 1\n  b: 1\n", "line 3: this is not YAML (the key 'b' stands twice"),
        (b"seed: 1\nclean: {\n", "line 3: this is not YAML"),
        (b"seed: 1\n\tdevice: cpu\n", "line 2: this is not YAML"),
        (b"seed: 1\ndevice: c\xe9\n", "line 2: this is not UTF-8"),
        (b"seed: 1\ndevice: \x00\n", "line 2: this is not YAML"),
        (b"seed: 1\ndataset: 2024-13-45\n", "line 2: this is not YAML ('2024-13-45' is no timestamp)"),
        (b"seed: 1\nx: " + b"9" * 5000, "line 2: this is not YAML"),
        (b"seed: !!int x\n", "line 1: this is not YAML ('x' is no int)"),
        (b"a: !!python/object:os.system {}\n", "line 1: this is not YAML"),
        (b"a: " + b"[" * 3_000, "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_to_be_so_with_the_line(content, words, tmp_path):
    (tmp_path / "params.yaml").write_bytes(content)
    assert words in refusal(lambda: read_params(tmp_path / "params.yaml"))


def test_a_missing_file_says_where_to_be(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"has no params\.yaml: run this in the folder of the repository"):
        read_params(tmp_path / "params.yaml")


def test_what_was_found_good_is_not_checked_again(tmp_path, monkeypatch):
    file, passed, checked = tmp_path / "params.yaml", tmp_path / "cache" / "passed", []
    monkeypatch.setattr(parameters, "check_params", lambda params: checked.append(params["seed"]))
    for seed in (42, 42, 43, 43):
        file.write_text(TEXT.replace("seed: 42 ", f"seed: {seed} "))
        assert read_params(file, passed=passed)["seed"] == seed
    assert checked == [42, 43]
    passed.write_bytes(b"\xff")
    read_params(file, passed=passed)
    read_params(file, passed=file / "no folder")  # a cache that cannot be written
    read_params(file)
    assert checked == [42, 43, 43, 43, 43]


def test_a_stage_refuses_wrong_parameters_of_whatever_comes_later(tmp_path):
    for folder in ("stages", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"HYBRIDVAE_CACHE": str(tmp_path / "cache")}

    def said(text):
        (tmp_path / "params.yaml").write_text(text)
        command = [sys.executable, "stages/clean.py"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and not done.stdout and not (tmp_path / "data").exists()
        return done.stderr

    assert (
        said(TEXT.replace("beta: 0.1 ", "beta: .nan ")) == "clean: hybridvae.beta is nan: it must be a finite number.\n"
    )
    (tmp_path / "file").touch()
    environment["HYBRIDVAE_CACHE"] = str(tmp_path / "file")
    assert said(TEXT) == f"clean: the cache folder {tmp_path / 'file'} is a file: set HYBRIDVAE_CACHE to a folder.\n"
