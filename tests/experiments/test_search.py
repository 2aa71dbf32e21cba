"""Trials: what they are called, which of them run, and where they are kept."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import psutil
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from projects import ROOT

from hybridvae.costs import Cost, note_cost
from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.experiments import queue
from hybridvae.experiments import search as search_module
from hybridvae.experiments.queue import Queue, _value
from hybridvae.experiments.search import Search, Trial
from hybridvae.experiments.workspace import workspace
from hybridvae.files import read_json, write_json
from hybridvae.repository import Repository

STAGES = ("validate", "train", "evaluate")


TEXTS = ("linear", "/home/me/my model (v2)", "org/name=x", "a:b,c", "it's", "true", "1e3", "", "back\\", "\\'")


@pytest.mark.parametrize("value", [*TEXTS, 0.1, 1e-05, [256, 512], ["title", "brand"], True, None, 7])
def test_every_value_reaches_dvc_as_it_is(value):
    override = OverridesParser.create().parse_override(f"key={_value(value)}")
    assert override.value() == value and not override.is_sweep_override()


@pytest.fixture
def repository(tmp_path):
    """A folder with what a search reads of a repository: the DAG, parameters, code, and a lock."""
    root = tmp_path / "repository"
    for folder in ("stages", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / file, root / file)
    (root / "metrics").mkdir()
    (root / "metrics/fetch.json").write_text("{}")
    (root / "metrics/fingerprint.json").write_text(json.dumps({"models": {"ease": "e1", "hybridvae": "h1"}}))
    outs = ["clean", "split", "split/fit", "split/test", "embed"]
    paths = [f"data/{out.partition('/')[0]}/ml-100k{out.partition('/')[1]}{out.partition('/')[2]}" for out in outs]
    lock = {"stages": {"made": {"outs": [{"path": path, "md5": path} for path in paths]}}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    return Repository(root)


def test_a_trial_is_called_after_all_that_decides_its_outcome_and_nothing_else(repository):
    def name(trial):
        return Search(repository).name(trial)

    def changed(file, old, new):
        path = repository.root / file
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))
        names = {key: name(trial) for key, trial in trials.items()}
        path.write_text(before)
        return {key for key in trials if names[key] != usual[key]}

    trials = {
        "validate": Trial("ease", {"ease.recency": 0.25}),
        "embed": Trial("ease", {"ease.recency": 0.25}, ("embed", "validate")),
        "test": Trial("ease", {"ease.recency": 0.25}, STAGES),
    }
    usual = {key: name(trial) for key, trial in trials.items()}
    assert len(set(usual.values())) == 3 and all(one.startswith("try-ease-") for one in usual.values())
    assert changed("metrics/fingerprint.json", "e1", "e2") == set(trials), "its code"
    assert changed("metrics/fingerprint.json", "h1", "h2") == set(), "another model's code"
    assert changed("params.yaml", "dropout: 0.3 ", "dropout: 0.4 ") == set(), "another model's parameters"
    assert changed("params.yaml", "regularization: 150.0", "regularization: 151.0") == set(trials)
    assert (
        changed("params.yaml", "recency: 0.5          # as in content\n\nease_text", "recency: 0.75\n\nease_text")
        == set()
    )
    assert changed("params.yaml", "seed: 42 ", "seed: 43 ") == set(trials)
    assert changed("params.yaml", "max_reviews: 10 ", "max_reviews: 9 ") == {"embed"}
    assert changed("dvc.lock", "md5: data/split/ml-100k/fit", "md5: other") == set(trials)
    assert changed("dvc.lock", "md5: data/split/ml-100k/test", "md5: other") == {"test"}
    assert changed("dvc.lock", "md5: data/embed/ml-100k", "md5: other") == {"validate", "test"}, "embed is run anew"
    assert changed("stages/train.py", "validation", "valuation") == {"test"}
    assert changed("src/hybridvae/seeds.py", "63-bit", "63 bit") == set(trials)
    assert changed("metrics/fetch.json", "{}", "{ }") == {"test"}


def test_a_wrong_parameter_is_worth_no_run(repository):
    with pytest.raises(BadParameterError, match=r"ease\.colour is not a parameter"):
        Trial("ease", {"ease.colour": 1}).block(repository.params)


class FakeQueue:
    """Runs what it is given, one after the other, until what waits is not wanted."""

    ran = None

    def __init__(self, repository):
        pass

    def submit(self, runs, *, label):
        type(self).ran = {}

    def work(self, runs, *, jobs, threads, label, unwanted):
        waits = list(runs)
        while waits:
            name = waits.pop(0)
            self.ran[name] = runs[name]
            FakeRepository.done.append(name)
            cost = FakeRepository.cost(name)
            note_cost(FakeRepository.cache, cost)
            gone = unwanted(set(waits))
            waits = [name for name in waits if name not in gone]
        return {}


class FakeRepository(Repository):
    """One whose experiments are a list of names."""

    done = None
    cache = None
    cost = None

    def experiments(self):
        class One:
            def __init__(self, name):
                self.name, self.revision = name, "r"

        return [One(name) for name in self.done]


def test_a_model_stops_when_its_minutes_are_spent_and_what_is_set_already_is_not_set(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(search_module, "Queue", FakeQueue)
    monkeypatch.setattr(FakeRepository, "done", [])
    monkeypatch.setattr(FakeRepository, "cache", tmp_path / "cache")
    trials = [Trial("ease", {"ease.recency": value, "ease.regularization": 150.0}) for value in (0.0, 0.25, 1.0)]
    trials.append(Trial("hybridvae", {"hybridvae.beta": 0.3}))
    search = Search(FakeRepository(repository.root), jobs=1)
    names = {search.name(trial): trial for trial in trials}

    def cost(name):
        block = names[name].block(search.params)
        about = {"dataset": "ml-100k", "split": "temporal", "model": names[name].model, "parameters": block}
        return Cost(stage="validate", seed=42, threads=str(search.threads), seconds=40.0, peak_mb=None, **about)

    monkeypatch.setattr(FakeRepository, "cost", cost)
    outcomes = search.run(trials, label="test", minutes=1)
    assert [outcome.note for outcome in outcomes] == ["", "", "not run: the time was over", ""], "2 x 40 s of ease"
    assert [outcome.seconds for outcome in outcomes][:3] == [{"validate": 40.0}, {"validate": 40.0}, {}]
    assert next(run[0] for run in FakeQueue.ran.values()) == {"ease.recency": 0.0}, "150 is what params.yaml has"
    again = search.run(trials[::-1], label="test", minutes=1)
    assert FakeQueue.ran.keys() == {search.name(trial) for trial in (trials[0], trials[1], trials[3])}, "nothing more"
    assert [outcome.trial for outcome in again] == trials[::-1]


@pytest.fixture
def git_repository(tmp_path):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path / "origin", check=True, capture_output=True)

    (tmp_path / "origin").mkdir()
    git("init", "--quiet", "--initial-branch=main")
    git("config", "user.name", "Test")
    git("config", "user.email", "test@example.org")
    (tmp_path / "origin" / "params.yaml").write_text("seed: 1\n")
    for folder in ("src", "store"):
        (tmp_path / "origin" / folder).mkdir()
        (tmp_path / "origin" / folder / "file").write_text(folder)
    git("add", "--all")
    git("commit", "--quiet", "--message", "Start")
    return Repository(tmp_path / "origin")


def test_a_clone_has_the_files_of_head_that_stages_read_and_no_history(git_repository, tmp_path):
    clone = Repository(tmp_path / "clone")
    git_repository.git("init", "--quiet", str(clone.root))
    assert git_repository.copy_head(clone) and not git_repository.copy_head(clone)
    assert clone.yaml("params.yaml") == {"seed": 1} and (clone.root / "src/file").read_text() == "src"
    assert not (clone.root / "store").exists()
    (git_repository.root / "params.yaml").write_text("seed: 2\n")
    git_repository.git("commit", "--quiet", "--all", "--message", "x")
    (clone.root / "params.yaml").write_text("seed: 7\n")  # as a search sets it
    assert git_repository.copy_head(clone) and clone.yaml("params.yaml") == {"seed": 2}
    assert clone.git("rev-list", "--count", "HEAD").strip() == "1"
    assert clone.copied_head() == git_repository.git("rev-parse", "HEAD").strip(), "reports name this commit"
    assert not git_repository.git("for-each-ref", "refs/hybridvae"), "nothing is left behind"


def test_experiments_of_a_clone_move_onto_the_commits_that_they_are_of(git_repository, tmp_path):
    clone, baselines = Repository(tmp_path / "clone"), []
    git_repository.git("init", "--quiet", str(clone.root))
    for key, value in (("user.name", "Test"), ("user.email", "test@example.org")):
        clone.git("config", key, value)
    for number in (1, 2):
        git_repository.copy_head(clone)
        baselines.append(git_repository.git("rev-parse", "HEAD").strip())
        (clone.root / "params.yaml").write_text(f"seed: {number}0\n")
        commit = clone.git("stash", "create").strip()
        copy = clone.git("rev-parse", "HEAD").strip()
        clone.git("update-ref", f"refs/exps/{copy[:2]}/{copy[2:]}/try-{number}", commit)
        (git_repository.root / "params.yaml").write_text(f"seed: {number + 1}\n")
        git_repository.git("commit", "--quiet", "--all", "--message", "x")
    clone.git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")  # which is none
    git_repository.take_experiments(clone)
    found = {one.name: one for one in git_repository.experiments()}
    assert {name: one.baseline for name, one in found.items()} == {"try-1": baselines[0], "try-2": baselines[1]}
    for number, (name, one) in enumerate(sorted(found.items()), start=1):
        assert git_repository.yaml("params.yaml", one.revision) == {"seed": 10 * number}, name
        assert git_repository.git("rev-parse", f"{one.revision}^").strip() == one.baseline
        assert git_repository.git("diff", "--name-only", one.baseline, one.revision).split() == ["params.yaml"]
    assert not clone.experiments() and not git_repository.git("for-each-ref", "refs/hybridvae")


def test_what_is_not_committed_is_not_searched(git_repository):
    (git_repository.root / "params.yaml").write_text("seed: 2\n")
    with pytest.raises(HybridVAEError, match="commit your changes of src, stages"), workspace(git_repository, "x", "y"):
        pass


def test_a_run_whose_process_has_died_is_no_running_one(tmp_path):
    """DVC asks the system alone, for which a zombie lives, and so does whoever has the number by now."""
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    runs = subprocess.Popen([sys.executable, "-c", "input()", "exec-run"], stdin=subprocess.PIPE)
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    pids = {"aaaaaaa1": zombie.pid, "bbbbbbb1": os.getpid(), "ccccccc1": 2**22 + 1, "ddddddd1": runs.pid}
    infos = {name: tmp_path / f".dvc/tmp/exps/run/{name}/{name}.json" for name in pids}
    for name, file in infos.items():
        write_json(file, {"pid": pids[name], "returncode": None})
        Queue(Repository(tmp_path))._note_death(name[:7])
    zombie.wait()
    runs.communicate(b"\n")
    codes = {name: read_json(file) for name, file in infos.items()}
    assert {name[0]: (of["pid"] == pids[name], of["returncode"]) for name, of in codes.items()} == {
        "a": (True, -9),
        "b": (True, -9),
        "c": (True, -9),
        "d": (True, None),
    }


class IdleQueue(Queue):
    """A queue whose workers live and do nothing, until runs are queued anew; then they do all, if they are to."""

    def __init__(self, repository, *, recovers):
        super().__init__(repository)
        self.recovers, self.said = recovers, []

    def _tasks(self):
        return {"one": ("aaaaaaa", "Queued")}, 1

    def _processes(self, numbers, *, workers):
        return set()

    def _start(self, jobs, threads):
        self.said.append("start")

    def stop(self, names):
        self.said.append(f"stop {names}")

    def submit(self, runs, *, label):
        self.said.append(f"submit {set(runs)}")
        self.repository.done = self.recovers


class IdleRepository(Repository):
    done = False

    def experiments(self):
        return [SimpleNamespace(name="one")] if self.done else []


@pytest.mark.parametrize("recovers", [True, False])
def test_workers_that_stand_idle_are_replaced_once(tmp_path, monkeypatch, recovers):
    monkeypatch.setattr(queue, "_LOOK", 0.0)
    monkeypatch.setattr(queue, "_ASK", 0.0)
    idle = IdleQueue(IdleRepository(tmp_path), recovers=recovers)
    work = partial(
        idle.work, {"one": queue.Run({}, [], [])}, jobs=1, threads=1, label="x", unwanted=lambda names: set()
    )
    anew = ["start", "stop {'one'}", "submit {'one'}", "start"]
    if recovers:
        assert work() == {} and idle.said == anew
        return
    with pytest.raises(HybridVAEError, match=r"ended or stood idle twice with 1 runs left: .* goes on from here"):
        work()
    assert idle.said == anew


def test_a_command_is_not_waited_for_longer_than_it_runs_by_what_it_starts(tmp_path):
    """As `dvc queue start` does, whose workers go on and have its standard output."""
    pid = int(Repository(tmp_path)._checked("sh", "-c", "sleep 60 & echo $!"))
    os.kill(pid, 0)  # raises where it has ended
    os.kill(pid, signal.SIGTERM)
