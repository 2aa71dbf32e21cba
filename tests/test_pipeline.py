"""The real stages under the real DVC, on tiny data, in a repository of their own."""

import filecmp
import os
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from projects import MODELS, ROOT, STAGES, clone, clone_with_outputs, new_project

from hybridvae.errors import UnreadableFileError
from hybridvae.repository import Repository


def test_the_pipeline_runs_in_order_from_raw_files_to_the_table(done):
    ran = re.findall(r"Running stage '([^']+)'", done.output)
    assert [stage for stage in ran if stage in STAGES] == STAGES
    for model in MODELS:
        places = [ran.index(f"{step}@{model}") for step in ("validate", "train", "evaluate")]
        assert places == sorted(places)
    assert ran.index("compare") > places[-1] and {"visualize", "recommend"} < set(ran)
    assert "All models\n" in done.output and "\nItem-KNN " in done.output
    table, _, last = done.run("python", "-m", "hybridvae", "table").strip().rpartition("\n")
    assert table in done.output and last == "It is the committed table, figure for figure."
    assert done.run("git", "status", "--porcelain") == ""


def test_metrics_have_their_form_and_add_up(done):
    cleaned, parts = done.json("metrics/clean.json"), done.json("metrics/split.json")
    assert cleaned["rows_in"] == cleaned["rows_out"] == 440 and cleaned["users"] == 40
    assert parts["rows"] == sum(parts[part]["rows"] for part in ("train", "validation", "test")) == 440
    for part in ("validation", "test"):
        for model in MODELS:
            metrics = done.json(f"metrics/{part}/{model}.json")
            assert [metrics[key] for key in ("dataset", "model", "split")] == ["tiny", model, part]
            assert metrics["users"] == parts[part]["users"] and metrics["targets"] == parts[part]["targets"]
            for protocol in ("sampled", "full"):
                for name in ("ndcg@10", "recall@5", "hit@20", "mrr"):
                    value = metrics[protocol][name]
                    assert 0 <= value["low"] <= value["mean"] <= value["high"] <= 1
    assert done.json("metrics/embed.json")["items"] == parts["items"]


def test_curves_hold_every_epoch_and_every_validation(done):
    curves = done.folder / "data/validate/tiny/hybridvae/curves/plots/metrics"
    every, validated = ["1", "2", "3", "4"], ["2", "4"]  # of 4 epochs, validated every 2
    for name in ("loss", "reconstruction", "kl", "beta", "ndcg@10"):
        header, *rows = [line.split("\t") for line in (curves / f"{name}.tsv").read_text().splitlines()]
        assert header == ["step", name]
        assert [step for step, _ in rows] == (validated if name == "ndcg@10" else every)


def test_figures_are_drawn(done):
    names = {path.name for path in (done.folder / "plots/figures").iterdir()}
    drawn = ("comparison", "slices", "training_curves", "users")
    assert names == {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}


def test_a_second_run_computes_nothing(done):
    assert "Data and pipelines are up to date." in done.run("dvc", "repro")


def test_two_runs_from_nothing_give_the_same_bytes(done, tmp_path, tiny_data):
    other = new_project(tmp_path / "again", tmp_path / "cache", tiny_data)
    other.run("dvc", "repro")
    # The lock holds the hash of every output: data, embeddings, weights, per-user results, metrics, figures.
    assert (other.folder / "dvc.lock").read_bytes() == (done.folder / "dvc.lock").read_bytes()
    same = filecmp.dircmp(other.folder / "metrics", done.folder / "metrics")
    assert not same.diff_files and not same.left_only and not same.right_only
    # Archives of NumPy are zip files, whose headers differ between versions of Python: the lock must not.
    assert not [path for path in (done.folder / "data").rglob("*") if zipfile.is_zipfile(path)]


def test_a_parameter_of_a_model_retrains_that_model_alone(done, tmp_path):
    project = clone_with_outputs(done, tmp_path / "clone", tmp_path / "cache")
    project.run("dvc", "checkout")  # ratings are never cached: fetch, clean and split rebuild them
    ran = project.ran("dvc", "exp", "run", "--set-param", "hybridvae.latent_dim=4")
    steps = ["fetch", "clean", "split", "validate@hybridvae", "train@hybridvae", "evaluate@hybridvae"]
    assert [stage for stage in ran if stage in steps] == steps
    assert set(ran) - set(steps) == {"compare", "visualize", "recommend"}
    assert "main" in project.run("dvc", "exp", "show", "--only-changed", "--md")
    back = project.ran("dvc", "exp", "run", "--set-param", "hybridvae.latent_dim=8")
    assert sorted(back) == ["compare", "visualize"], "what was computed before comes from the run cache"


def test_the_loop_of_the_vaes_makes_those_stale_and_no_other_model(done, tmp_path):
    project = clone_with_outputs(done, tmp_path / "clone", tmp_path / "cache")
    project.run("dvc", "checkout")
    shared = project.folder / "src/hybridvae/models/_vae.py"
    shared.write_text(shared.read_text() + "# another loop\n")
    project.run("dvc", "repro", "--single-item", "fetch", "clean", "split", "fingerprint")
    assert "up to date" in project.run("dvc", "status", "validate@popularity", "validate@lightgcn")
    assert "models.hybridvae" in project.run("dvc", "status", "validate@hybridvae", "evaluate@hybridvae")


def test_push_clone_and_pull_leave_three_stages_to_run(done, remote, tmp_path):
    url, options = remote
    origin = clone_with_outputs(done, tmp_path / "origin", tmp_path / "unused")
    origin.run("dvc", "remote", "add", "--force", "--default", "elsewhere", url)
    for name, value in options.items():
        origin.run("dvc", "remote", "modify", "elsewhere", name, value)
    origin.run("dvc", "push")
    origin.commit("Point the remote elsewhere")

    stranger = clone(origin, tmp_path / "stranger", tmp_path / "cache")
    stranger.environment["HYBRIDVAE_DATA"] = done.environment["HYBRIDVAE_DATA"]
    stranger.run("dvc", "pull")
    for model in MODELS:
        assert any((stranger.folder / "data/train/tiny" / model).iterdir())
    assert not (stranger.folder / "data/clean").exists()
    assert stranger.ran("dvc", "repro") == ["fetch", "clean", "split"]
    assert stranger.run("git", "status", "--porcelain") == ""


def test_an_output_is_read_from_the_cache_at_any_revision_or_said_to_be_missing(done, tmp_path):
    path = "data/validate/tiny/hybridvae/fit.json"
    kept = clone_with_outputs(done, tmp_path / "kept", tmp_path / "cache")
    assert Repository(kept.folder).read_output(path, "HEAD") == (done.folder / path).read_bytes()
    bare = clone(done, tmp_path / "bare", tmp_path / "cache")
    with pytest.raises(UnreadableFileError, match=r"DVC's cache lacks data/validate/.* `dvc exp remove`"):
        Repository(bare.folder).read_output(path, "HEAD")


def test_nothing_with_ratings_is_ever_pushed():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("fetch", "clean", "split"):
        for out in stages[name]["outs"]:
            assert isinstance(out, dict) and next(iter(out.values())) == {"cache": False}, (name, out)


def test_a_new_model_is_one_file_one_block_and_one_word(done, tmp_path):
    project = clone_with_outputs(done, tmp_path / "clone", Path(done.environment["HYBRIDVAE_CACHE"]))
    model = (project.folder / "src/hybridvae/models/popularity.py").read_text()
    model = model.replace("positives.sum(axis=0)", "positives.mean(axis=0)").replace("has no parameters", "takes one")
    model = model.replace('takes one."""', 'takes one."""\n\n    power: float = 1.0')
    (project.folder / "src/hybridvae/models/share.py").write_text(model)
    project.set(share={"power": 2.0}, models=[*MODELS, "share"])
    ran = project.ran("dvc", "repro")
    assert [stage for stage in ran if "@" in stage] == ["validate@share", "train@share", "evaluate@share"]
    assert project.json("metrics/test/share.json")["full"] == project.json("metrics/test/popularity.json")["full"]
    assert "share" in project.json("metrics/comparison.json")["models"]


def test_what_is_pushed_does_not_say_who_liked_what(done):
    for path in (done.folder / "data/evaluate/tiny").rglob("*.parquet"):
        assert not {"item_index", "item_id"} & set(pd.read_parquet(path).columns), path


def test_kill_minus_nine_in_training_goes_on_and_ends_the_same(done, tmp_path):
    def project_of(name):
        project = clone_with_outputs(done, tmp_path / name, tmp_path / f"cache-{name}")
        project.set(hybridvae__epochs=100, hybridvae__patience=100)
        project.run("dvc", "repro", "--single-item", "fetch", "clean", "split")
        project.run("dvc", "checkout", "embed")
        return project

    killed, whole = project_of("killed"), project_of("whole")
    process = subprocess.Popen(
        ["dvc", "repro", "--single-item", "validate@hybridvae"],
        cwd=killed.folder,
        env=killed.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    fits = tmp_path / "cache-killed" / "fits"
    for _ in range(600):
        if any(fits.glob("*/last.safetensors")) or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, "the stage ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert any(fits.glob("*/last.safetensors"))

    killed.run("dvc", "repro", "--single-item", "validate@hybridvae")
    whole.run("dvc", "repro", "--single-item", "validate@hybridvae")
    for name in ("metrics/validation/hybridvae.json", "data/validate/tiny/hybridvae/fit.json"):
        assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    curve = "data/validate/tiny/hybridvae/curves/plots/metrics/loss.tsv"
    assert (killed.folder / curve).read_bytes() == (whole.folder / curve).read_bytes()
    assert not any(fits.iterdir())


def test_a_mistake_ends_in_one_sentence(done, tmp_path):
    project = clone(done, tmp_path / "clone", Path(done.environment["HYBRIDVAE_CACHE"]))
    project.run("dvc", "repro", "--single-item", "fetch", "clean", "split")
    for stage, change, words in [
        ("fetch.py", {"dataset": "nowhere"}, "there is no data set 'nowhere' in sources.yaml"),
        ("clean.py", {"clean__min_user_ratings": 10_000}, "nothing is left after the k-core"),
        ("split.py", {"split__strategy": "random"}, "use one of temporal, leave_one_out, global_temporal, cold_items"),
        ("validate.py hybridvae", {"hybridvae__colour": "blue"}, "hybridvae.colour is not a parameter"),
        ("validate.py magic", {}, "there is no model 'magic'"),
    ]:
        project.set(**change)
        said = project.run("sh", "-c", f"python stages/{stage}", fails=True)
        project.run("git", "checkout", "params.yaml")
        assert words in said and "Traceback" not in said and len(said.splitlines()) == 1
