"""Grids, DVC's queue, experiments side by side, and the page that walks through them."""

import json
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from io import StringIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from projects import MODELS, ROOT, clone

from hybridvae.errors import HybridVAEError
from hybridvae.experiments.grid import points, write_parameters
from hybridvae.experiments.listing import _up_to_date, over_seeds, plain
from hybridvae.experiments.queue import Queue, _uninterrupted, stoppable
from hybridvae.experiments.tuning import Limits, tune
from hybridvae.repository import Repository

PAGE = (ROOT / "docs" / "experiments.md").read_text()
MADE = ("fetch", "clean", "split", "train@hybridvae")
GRID = {"latent_dim": [4, 8]}
LONG = 600  # epochs that outlast the stop of a fit on a quick machine


def test_a_grid_is_every_combination_and_several_follow_one_another():
    assert points({"a": [1, 2], "b": [[3], [4, 5]]}) == [
        {"a": 1, "b": [3]},
        {"a": 1, "b": [4, 5]},
        {"a": 2, "b": [3]},
        {"a": 2, "b": [4, 5]},
    ]
    assert points([{"a": [1, 2]}, {"a": [2, 3]}]) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert points({}) == [{}]


def test_a_winner_goes_into_params_and_all_else_stays(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "# knobs\ndataset: a   # which\nm:\n  dims:   # layers\n  - 4\n  rate: 0.1   # of steps\n  none: null\n"
    )
    write_parameters(path, {"dataset": "b", "m": {"dims": [4], "rate": 0.5}})
    assert path.read_text() == (
        "# knobs\ndataset: b   # which\nm:\n  dims:   # layers\n  - 4\n  rate: 0.5   # of steps\n  none: null\n"
    )


def test_numbers_are_read_as_dvc_writes_them(tmp_path):
    (tmp_path / "params.yaml").write_text("a: 1e-05\nb: -2.5E+2\nc: 1e\nd: 3\n")
    assert Repository(tmp_path).params == {"a": 1e-05, "b": -250.0, "c": "1e", "d": 3}
    with pytest.raises(HybridVAEError, match=r"has no params\.yaml"):
        _ = Repository(tmp_path / "elsewhere").params


class FakeRepository:
    def __init__(self, said):
        self.said = said

    def dvc(self, *arguments, threads=None):
        return self.said


def test_the_queue_is_read_as_dvc_prints_it():
    states, workers = Queue(
        FakeRepository(
            "Task     Name    Created    Status\n"
            "e96dd0a  tune-a  05:19 AM   Running\n"
            "6951188  tune-b  Nov 24, 2026  Queued\n"
            "7d88b9f  tune-c  05:19 AM   Failed\n\nWorker status: 1 active, 1 idle\n"
        )
    ).states()
    assert states == {"tune-a": "Running", "tune-b": "Queued", "tune-c": "Failed"} and workers == 2
    assert Queue(FakeRepository("No experiment tasks in the queue.\n\nWorker status: 0 active, 0 idle\n")).states() == (
        {},
        0,
    )


def test_a_failed_run_is_quoted_by_its_own_sentence():
    said = "Running stage\nvalidate: the loss is infinite.\nERROR: failed to reproduce\n"
    assert Queue(FakeRepository(said)).last_words("x") == "validate: the loss is infinite."
    assert Queue(FakeRepository("ERROR: no disk\n\n")).last_words("x") == "ERROR: no disk"
    said = "validate: ease on tiny: NDCG@10 0.2; wrote data/validate in 1 s\ntrain: it broke.\nERROR: failed\n"
    assert Queue(FakeRepository(said)).last_words("x") == "train: it broke.", "and not what an earlier stage said"


def test_seeds_are_put_together_and_nothing_else_is():
    table = pd.DataFrame(
        {
            "experiment": ["d", "b", "c", "a"],
            "dataset": ["x"] * 4,
            "seed": [1, 2, 1, 1],
            "dims": [[4], [4], [8], [4]],
            "validation ndcg@10": [0.2, 0.4, 0.9, 0.2],
            "test full ndcg@10": [np.nan, 0.3, np.nan, 0.1],  # d ended with validate, a went on from there
        }
    )
    seeds = over_seeds(table)
    assert seeds.to_dict("records") == [
        {
            "dataset": "x",
            "dims": "[4]",
            "seeds": "1, 2",
            "validation ndcg@10": "0.3000 ± 0.1414",  # sqrt((0.1^2 + 0.1^2) / (2 - 1)); seed 1 once
            "test full ndcg@10": "0.2000 ± 0.1414",
        }
    ]
    assert len(over_seeds(table.drop(index=1))) == 0
    assert plain(table).splitlines()[3].split() == ["c", "x", "1", "[8]", "0.9000"], "no figure where there is none"


def test_figures_of_another_run_are_not_an_experiments_own():
    def stage(made, read, seed=1):
        return {
            "deps": [{"path": "data/" + path, "md5": md5} for path, md5 in read.items()],
            "outs": [{"path": "data/" + path, "md5": md5} for path, md5 in made.items()],
            "params": {"params.yaml": {"seed": seed, "m": {"rate": 0.1}}},
        }

    stages = {
        "fetch": stage({"raw": "r"}, {}),
        "clean": stage({"clean": "c"}, {"raw": "r"}),
        "split": stage({"split": "s"}, {"clean": "c"}),
        "embed": stage({"embed": "e"}, {"clean": "c", "split": "s"}),
        "validate@m": stage({"validate/m": "v1"}, {"split": "s", "embed": "e"}),
        "train@m": stage({"train/m": "t1"}, {"validate/m": "v1"}),
        "evaluate@m": stage({"evaluate/m": "e1"}, {"train/m": "t1"}),
    }
    params = {"seed": 1, "m": {"rate": 0.1}}
    assert list(_up_to_date(stages, params, "m")) == ["validate", "train", "evaluate"]
    assert list(_up_to_date(stages, params | {"seed": 2}, "m")) == []
    validated_again = stages | {"validate@m": stage({"validate/m": "v2"}, {})}
    assert list(_up_to_date(validated_again, params, "m")) == ["validate"]
    embedded_again = stages | {"embed": stage({"embed": "e2"}, {"clean": "c", "split": "s"})}
    assert list(_up_to_date(embedded_again, params, "m")) == []
    assert list(_up_to_date({}, params, "m")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "magic"}, "there is no model 'magic'"),
        ({"grid": "wild"}, "there is no grid.wild in params.yaml: there are specified, search"),
        ({"model": "popularity"}, "grid.search has no popularity"),
        ({"dataset": "nowhere"}, "there is no data set 'nowhere' in sources.yaml"),
    ],
)
def test_a_tuning_that_cannot_be_says_so_and_changes_nothing(arguments, words, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copy(ROOT / "sources.yaml", tmp_path)
    with pytest.raises(HybridVAEError, match=re.escape(words)):
        tune(tmp_path, **{"model": "hybridvae", "grid": "search", "dataset": None, "limits": Limits()} | arguments)
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    with pytest.raises(HybridVAEError, match="above 0"):
        Limits(jobs=0)


@pytest.mark.parametrize("fault", [HybridVAEError("`dvc repro` failed: see above."), KeyboardInterrupt()])
def test_a_switch_of_the_data_set_that_fails_or_is_stopped_leaves_params_as_they_were(tmp_path, monkeypatch, fault):
    for name in ("params.yaml", "sources.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    path = tmp_path / "params.yaml"
    path.write_bytes(path.read_bytes().replace(b"seed: 42  ", b"seed: 42") + b"\n# the end, without a line end")
    before, seen = path.read_bytes(), []

    def reproduce(*_):
        seen.append(Repository(tmp_path).params["dataset"])
        raise fault

    monkeypatch.setattr(Repository, "reproduce", reproduce)
    with pytest.raises(HybridVAEError):
        tune(tmp_path, "hybridvae", grid="search", dataset="beauty", limits=Limits())
    assert seen == ["beauty"] and path.read_bytes() == before


def test_a_data_set_without_its_file_or_of_an_unknown_name_changes_nothing(done, tmp_path):
    project = clone(done, tmp_path / "project", tmp_path / "cache")
    path = project.folder / "sources.yaml"
    sources = yaml.safe_load(path.read_text())
    sources["sources"]["missing"] = {"kind": "file", "reviews": "missing.jsonl", "reviews_sha256": "0" * 64}
    path.write_text(yaml.safe_dump(sources))
    before = (project.folder / "params.yaml").read_bytes()
    for dataset, words in (("missing", "missing.jsonl does not exist"), ("nonsense", "no data set 'nonsense'")):
        said = project.run("python", "-m", "hybridvae", "tune", "--dataset", dataset, fails=True)
        assert words in said and "Traceback" not in said
        assert (project.folder / "params.yaml").read_bytes() == before


def project_of(done, folder, grid):
    """A clone with a grid of its own and a copy of the cache of what was run, to which `dvc exp save` adds ratings."""
    project = clone(done, folder, folder.parent / "cache")
    shutil.copytree(done.folder / ".dvc/cache", folder / ".dvc/cache")
    project.set(grid__specified={"hybridvae": grid})
    project.commit("A grid")
    return project


def test_a_grid_runs_what_is_missing_and_names_what_failed(done, tmp_path):
    project = project_of(done, tmp_path / "project", {"latent_dim": [4], "learning_rate": [0.001, 1e30]})
    said = project.run("python", "-m", "hybridvae", "tune", "--grid", "specified")
    assert "2 trials, 2 to run" in said and "Traceback" not in said
    table = pd.read_csv(project.folder / "plots/tuning/tiny-hybridvae-specified.csv")
    assert table["learning_rate"].tolist() == [0.001, 1e30] and table["ndcg@10"].notna().tolist() == [True, False]
    assert "validate: a model gave a score" in table["note"].iloc[1], "a failed run is shown with its own error"
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    assert params["hybridvae"]["latent_dim"] == table["latent_dim"].iloc[0]
    assert params["hybridvae"]["learning_rate"] == 0.001 and params["hybridvae"]["epochs"] == 4, (
        "cut short for the trial"
    )
    assert (project.folder / "plots/tuning/tiny-hybridvae-specified.png").stat().st_size > 10_000

    project.set(grid__specified={"hybridvae": {"latent_dim": [4, 8], "learning_rate": [0.001]}})
    said = project.run("python", "-m", "hybridvae", "tune", "--grid", "specified")
    assert "2 trials, 1 to run" in said
    assert "2 trials, 0 to run" in project.run("python", "-m", "hybridvae", "tune", "--grid", "specified")
    said = project.run("python", "-m", "hybridvae", "experiments", "itemknn")
    assert "try-hybridvae-" not in said and "(committed)" in said, "those experiments fitted another model"
    rows = project.run("python", "-m", "hybridvae", "experiments").splitlines()
    assert sum("try-hybridvae-" in row for row in rows) == 2 and "(committed)" in "".join(rows)


def test_the_page_on_experiments_works_as_written(done, tmp_path, s3):
    project = project_of(done, tmp_path / "project", GRID)
    project.run("python", "-m", "hybridvae", "plots-page", ".venv/plots.html")  # which `make` does
    project.run("dvc", "config", "--local", "plots.html_template", "../.venv/plots.html")
    project.run("git", "init", "--quiet", "--bare", str(tmp_path / "team.git"))
    address, server, objects = s3
    project.environment |= {"GIT_REMOTE": str(tmp_path / "team.git"), "S3_FOLDER": address, "S3_SERVER": server}
    project.environment |= {"AWS_DEFAULT_REGION": "us-east-1", "COLUMNS": "120"}
    said = {}
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            said[line] = project.run("bash", "-c", line)
        if "dvc queue start" in block:
            wait_for(project, "seed-1", "seed-2")

    compared = [text for line, text in said.items() if line.endswith("experiments hybridvae")][-1]  # the second one's
    assert "mean and standard deviation over seeds" in compared and "±" in compared
    seeds = [line for line in compared.splitlines() if line.split()[:1] in (["seed-1"], ["seed-2"])]
    tuned = [line for line in compared.splitlines() if "try-hybridvae-" in line]
    assert len(seeds) == 2 and len(tuned) == 2
    figures = r"0\.\d{4}"
    assert all(len(re.findall(figures, line)) == 3 for line in seeds), "final runs have figures of the test part"
    assert all(len(re.findall(figures, line)) == 1 for line in tuned), "tuning runs have none"
    shown = next(text for line, text in said.items() if line.startswith("dvc exp show"))
    assert shown.count("try-hybridvae-") == 2 and "sources" not in shown and "hybridvae.latent_dim" in shown
    assert (project.folder / "fetched/hybridvae/model.safetensors").is_file()
    assert "seed-1" in said["dvc exp list --all-commits team"]
    assert "second-seed" in project.run("git", "branch", "--list")

    pushed = {name.replace("/", "")[-36:] for name in objects()}  # .../files/md5/ab/cdef....dir
    made = {stage: yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"][stage]["outs"] for stage in MADE}
    assert made["train@hybridvae"][0]["md5"] in pushed
    for stage in ("fetch", "clean", "split"):
        assert not {out["md5"] for out in made[stage]} & pushed, f"{stage} pushed what holds ratings"

    page = (project.folder / "dvc_plots/index.html").read_text()
    assert "<script src" not in page
    specs = [json.loads(spec) for spec in re.findall(r"var spec = (.*);\n", page)]
    assert len(specs) == 5 + 2 * len(MODELS)
    drawn = [spec["title"]["text"] for spec in specs if spec and "usermeta" not in spec]  # of nothing DVC makes {}
    curves = ["NDCG@10 by full ranking, validation part", "loss in training", "KL divergence in training"]
    assert drawn == [f"HybridVAE, {curve}" for curve in curves], "neither run compared models, and no model has a chart"
    if not (chromium := shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("all but the last step passed; there is no Chromium here to open the page of plots in")
    picture = tmp_path / "plots.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'browser'}"]
    options += ["--window-size=1400,2600", "--virtual-time-budget=8000", f"--screenshot={picture}"]
    where = (project.folder / "dvc_plots/index.html").as_uri()
    subprocess.run([chromium, *options, where], check=True, capture_output=True, timeout=120)
    pixels = np.round(matplotlib.image.imread(picture)[..., :3] * 255)
    for colour in ("945dd6", "13adc7"):  # the colours of DVC's first two revisions
        wanted = [int(colour[place : place + 2], 16) for place in (0, 2, 4)]
        drawn = (np.abs(pixels - wanted).max(axis=-1) < 12).sum()
        assert drawn > 300, f"the curves of {colour} are not there: {drawn} pixels"


SHOW = re.search(r"^dvc exp show .*$", PAGE, re.MULTILINE)[0]


def figures_of(project):
    """Name -> model -> the figure that DVC shows."""
    table = pd.read_csv(StringIO(project.run("dvc", "exp", "show", "--csv")), na_values="")
    table.index = table["Experiment"].fillna(table["rev"])
    return table.rename(columns=lambda name: name.removeprefix("metrics/tuning/").removesuffix(".json:ndcg@10"))[
        MODELS
    ].T


def test_a_figure_of_an_experiment_is_its_own_or_not_there(done, tmp_path):
    project = project_of(done, tmp_path / "project", GRID)
    project.run("dvc", "exp", "run", "--temp", "--name", "one", "-S", "itemknn.k=2", "validate@itemknn")
    project.run("dvc", "exp", "run", "--temp", "--name", "seed", "-S", "seed=7", "evaluate@itemknn")
    project.run("dvc", "exp", "run", "--queue", "--name", "waits", "-S", "seed=8", "evaluate@itemknn")
    project.run("dvc", "checkout")
    both = ["-S", "itemknn.k=2", "-S", "hybridvae.beta=0.3"]
    project.run("dvc", "exp", "run", "--name", "here", *both, "validate@itemknn")
    shown = figures_of(project)
    assert shown["main"].notna().all()
    assert shown["one"].notna().all() and (shown["one"] != shown["main"])["itemknn"], "the others are as they were"
    assert shown["seed"].dropna().index.tolist() == ["itemknn"]
    assert shown["here"].dropna().index.tolist() == ["popularity", "itemknn", "lightgcn"]
    assert shown["waits"].isna().all()
    assert "plots/comparison.csv" not in project.run(
        "git", "ls-tree", "-r", "--name-only", revision_of(project, "seed")
    )
    test = project.run("git", "ls-tree", "--name-only", revision_of(project, "here"), "metrics/test/").split()
    assert test == [f"metrics/test/{model}.json" for model in ("lightgcn", "popularity")]
    narrow = project.run("bash", "-c", f"COLUMNS=120 {SHOW}")
    assert "…" not in narrow and "metrics/tuning/hybridvae.json:ndcg@10" in narrow and "hybridvae.beta" in narrow

    project.run("git", "checkout", ".")
    project.run("dvc", "checkout")
    assert "up to date" in project.run("dvc", "repro"), "back where it was, nothing is fitted again"


def revision_of(project, name):
    return next(one.revision for one in Repository(project.folder).experiments() if one.name == name)


def test_an_experiment_that_fails_at_once_leaves_the_figures_that_are_there(done, tmp_path):
    project = project_of(done, tmp_path / "project", GRID)
    said = project.run("dvc", "exp", "run", "--quiet", "-S", "dataset=another", fails=True)
    assert re.match(r"fetch: there is no data set 'another' .*\n$", said), "one sentence, and nothing of DVC's"
    changed = ["D metrics/fetch.json", "M params.yaml"]  # the latter by DVC, which leaves there what was asked for
    assert [line.strip() for line in project.run("git", "status", "--porcelain").splitlines()] == changed


def test_a_tuning_that_is_stopped_leaves_no_process_and_goes_on(done, tmp_path):
    project = project_of(done, tmp_path / "project", {"latent_dim": [4]})
    project.set(hybridvae__epochs=LONG, hybridvae__patience=LONG, grid__trial={"specified": {}})
    project.commit("Longer fits")
    command = ["python", "-m", "hybridvae", "tune", "--grid", "specified", "--jobs", "1"]
    said, fits = tmp_path / "said", tmp_path / "cache" / "fits"
    with said.open("w") as out:
        process = subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=out, stderr=out)
        for _ in range(3000):
            if any(fits.glob("*/last.safetensors")) or process.poll() is not None:
                break
            time.sleep(0.1)
        try:
            assert process.poll() is None, said.read_text()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=180) == 1, said.read_text()
        finally:
            process.kill()
    assert not processes_in(project.folder)
    assert re.search(r"hybridvae: stopped with 0 of 1 runs done, .* the same command goes on", said.read_text())
    assert "No experiment tasks in the queue" in project.run("dvc", "queue", "status")
    assert project.run("git", "status", "--porcelain") == "" and any(fits.iterdir())

    assert "1 trials, 1 to run" in project.run(*command) and not any(fits.iterdir())
    tuned = pd.read_csv(project.folder / "plots/tuning/tiny-hybridvae-specified.csv")
    whole = project_of(done, tmp_path / "whole", {})
    whole.set(hybridvae__epochs=LONG, hybridvae__patience=LONG, hybridvae__latent_dim=4)
    whole.run("dvc", "repro", "--single-item", "fetch", "clean", "split")
    whole.run("dvc", "checkout", "embed")
    whole.run("dvc", "repro", "--single-item", "validate@hybridvae")
    assert tuned["ndcg@10"].tolist() == list(whole.json("metrics/tuning/hybridvae.json").values())


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_one_sentence(sign):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(HybridVAEError, match="stopped: the same command goes on from here"), stoppable():
        signal.raise_signal(sign)
    assert signal.getsignal(signal.SIGTERM) is before
    done = []
    with pytest.raises(HybridVAEError, match="stopped"), stoppable(), _uninterrupted():
        signal.raise_signal(sign)
        done.append("what must not be done by half")
    assert done


def processes_in(folder):
    """What runs in a folder: command lines."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(" ".join(process.cmdline()))
    return found


def test_what_a_stopped_dvc_left_unreadable_is_mended(tmp_path):
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True)
    Repository(tmp_path).mend()
    for text, stays in (('{"read": {}}', True), ("", False)):
        file.write_text(text)
        Repository(tmp_path).mend()
        assert file.exists() == stays


def test_a_lock_that_dvc_left_half_written_is_the_committed_one_again(tmp_path, capsys):
    lock = tmp_path / "dvc.lock"
    whole = "schema: '2.0'\nstages:\n  fetch:\n    cmd: python stages/fetch.py\n"
    lock.write_text(whole)
    Repository(tmp_path).mend()
    assert lock.read_text() == whole and not capsys.readouterr().err
    for half in (whole[:40], whole[:30] + "'", ""):
        lock.write_text(half)
        Repository(tmp_path).mend()
        assert not lock.exists() and "dvc.lock was half written" in capsys.readouterr().err, half
    lock.write_text(whole)
    as_somebody = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "--quiet"], ["add", "dvc.lock"], [*as_somebody, "commit", "--quiet", "--message", "Lock"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    lock.write_text(whole[:40])
    Repository(tmp_path).mend()
    assert lock.read_text() == whole


def test_a_failed_run_is_looked_up_where_it_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Queue(Repository(Path()))._typed("queue", "logs", "x") == "dvc queue logs x"
    assert Queue(Repository(tmp_path / "a b"))._typed("queue") == f"dvc --cd '{tmp_path.resolve() / 'a b'}' queue"


def wait_for(project, *names, seconds=180):
    """Until DVC's queue has made experiments of these names."""
    for _ in range(seconds):
        if set(names) <= set(re.findall(r"refs/exps/\S+/(\S+)", project.run("git", "for-each-ref", "refs/exps"))):
            return
        time.sleep(1)
    raise AssertionError(project.run("dvc", "queue", "status"))
