"""Repositories of their own in which the real stages run under the real DVC, on tiny data."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from hybridvae.files import sha256_of

ROOT = Path(__file__).resolve().parent.parent
STAGES = ["fetch", "clean", "split", "embed"]
MODELS = ["popularity", "itemknn", "lightgcn", "hybridvae"]  # of each kind one: counts, neighbours, a graph, a VAE


class Project:
    """A clone of this repository that works on tiny data."""

    def __init__(self, folder, cache, data):
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HYBRIDVAE_CACHE": str(cache),
            "HYBRIDVAE_DATA": str(data),
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        for role in ("AUTHOR", "COMMITTER"):
            self.environment |= {f"GIT_{role}_NAME": "Test", f"GIT_{role}_EMAIL": "test@example.org"}

    def run(self, *command, fails=False):
        outcome = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=600
        )
        said = outcome.stdout + outcome.stderr
        assert (outcome.returncode != 0) == fails, said
        return said

    def ran(self, *command):
        """The stages that a command ran."""
        return re.findall(r"Running stage '([^']+)'", self.run(*command))

    def commit(self, message):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def set(self, **values):
        """Change parameters given as block__key or key."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for name, value in values.items():
            *blocks, key = name.split("__")
            target = params
            for block in blocks:
                target = target[block]
            target[key] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def json(self, name):
        return json.loads((self.folder / name).read_text())


def new_project(folder, cache, tiny_data):
    """The tracked files of this repository as they are now, with the tiny data set as the default."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for name in tracked:
        if (
            name
            and not name.startswith(("store/", "metrics/", "plots/"))
            and name != "dvc.lock"
            and (ROOT / name).is_file()
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder, cache, tiny_data)
    source = {"kind": "file"}
    for role, name in (("reviews", "reviews.jsonl.gz"), ("metadata", "metadata.jsonl")):
        source |= {role: name, f"{role}_sha256": sha256_of(tiny_data / name)}
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": {"tiny": source}}))
    project.set(
        dataset="tiny",
        models=MODELS,
        lightgcn__epochs=10,
        device="cpu",
        split__candidates=10,
        hybridvae__epochs=4,
        hybridvae__validate_every=2,
        hybridvae__hidden_dims=[16],
        hybridvae__latent_dim=8,
        evaluation__bootstrap_resamples=50,
        evaluation__permutations=200,
    )
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.commit("Start")
    return project


def clone(project, folder, cache):
    subprocess.run(["git", "clone", "--quiet", project.folder, folder], check=True)
    twin = Project(folder, cache, project.environment["HYBRIDVAE_DATA"])
    return twin


def clone_with_outputs(project, folder, cache):
    """A clone with a copy of what DVC keeps of the other's stages, so that what it runs changes nothing there."""
    twin = clone(project, folder, cache)
    shutil.copytree(project.folder / ".dvc/cache", folder / ".dvc/cache")
    return twin
