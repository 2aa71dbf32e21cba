"""What developers are told, and what runs for them, is true of the repository as it is."""

import importlib
import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT

import hybridvae
from hybridvae.dependencies import PACKAGE

GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
CHANGES = (ROOT / "CHANGELOG.md").read_text()
README = (ROOT / "README.md").read_text()
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIPELINE = (ROOT / "dvc.yaml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
IS_A_PATH = re.compile(r"[\w./-]+/|[\w./-]*\w\.(?:py|pyi|md|ya?ml|toml|lock|cff|json|j2)|Makefile|NOTICE|LICENSE")


def recipe(target):
    """The commands of a target of the Makefile."""
    return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1].replace("\t", "").splitlines()


def steps(workflow):
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"]]


def exists(path):
    """Whether a path is there, from the root or, for short, from the library, or is written by a stage."""
    return (ROOT / path).exists() or (PACKAGE / path).exists() or f"- {path}:" in PIPELINE


def test_the_hooks_run_what_make_test_runs_before_the_tests():
    checks = [command for command in recipe("test") if not command.startswith("pytest")]
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    hooks = HOOKS[0]["hooks"]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == checks
    assert len(checks) == 3 and all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)


def test_the_workflow_runs_make_test_with_the_supported_pythons():
    assert "make test" in [step.get("run") for step in steps("test")]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert oldest in WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]["python"]


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
def test_workflows_may_do_no_more_than_they_need(workflow):
    content = (ROOT / ".github/workflows" / f"{workflow}.yml").read_text()
    allowed = {"contents": "read"} | ({"pull-requests": "write"} if workflow == "metrics" else {})
    assert WORKFLOWS[workflow]["permissions"] == allowed
    assert "pull_request_target" not in content and "secrets." not in content, "a fork's code must not meet a secret"
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), "values of an event come by the environment, where no shell reads them"
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v1"))
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
    assert all(job["timeout-minutes"] <= 60 for job in WORKFLOWS[workflow]["jobs"].values())


def test_the_metrics_workflow_shows_a_figure_that_is_committed():
    report = next(step["run"] for step in steps("metrics") if "report.md" in step.get("run", ""))
    shown = re.findall(r"\$HEAD_SHA/(plots/[\w./]+)", report)
    assert shown and all((ROOT / path).is_file() for path in shown)


def make(*arguments):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_make_alone_lists_every_target_by_group_and_fits_a_terminal():
    said = make()
    assert said == make("help") and not [line for line in said.splitlines() if len(line) > 80]
    assert re.findall(r"^(\w+)$", said, re.MULTILINE) == ["Start", "Use", "Experiments", "Tables", "Care"]
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    assert set(re.findall(r"^  ([a-z-]+) +\w", said, re.MULTILINE)) == targets
    assert targets == set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert said.splitlines()[-1].startswith("Next: `make setup`")


def test_make_setup_installs_and_runs_no_stage():
    commands = make("--dry-run", "--always-make", "setup").splitlines()
    assert any(command.startswith("pip install") and "requirements.lock" in command for command in commands)
    assert not [
        command for command in commands if re.match(r"dvc (?!config)|python -m hybridvae (?!plots-page)", command)
    ]
    assert "python -m hybridvae recommend --history 50,181" in commands[-1], "it says the next step"


def test_the_citation_has_what_the_format_requires_and_the_version_of_the_last_release():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0" and all(author["name"] for author in CITATION["authors"])
    assert CITATION["license"] == PROJECT["license"]
    released = re.findall(r"^## \[(\d[\d.]*)\] - \d{4}-\d\d-\d\d$", CHANGES, re.MULTILINE)
    assert CITATION["version"] == released[0]


def test_a_released_version_is_that_of_the_citation_and_one_in_the_making_comes_after_it():
    assert "version" in PROJECT["dynamic"], "pyproject.toml has it from the package"
    numbers, _, making = hybridvae.__version__.partition(".dev")
    ours, cited = (tuple(map(int, version.split("."))) for version in (numbers, CITATION["version"]))
    assert ours > cited if making else ours == cited


def test_the_changelog_names_the_version_of_the_code():
    assert f"version {hybridvae.__version__}" in CHANGES or f"## [{hybridvae.__version__}]" in CHANGES


def test_the_guide_is_one_page_and_names_every_room_in_the_order_of_imports():
    assert len(GUIDE.splitlines()) <= 150
    table = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    places = [place.strip("`") for row in table for place in row.split(", ")]
    rooms = [place.rstrip("/") for place in places if place.endswith("/")]
    assert sorted(rooms) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert {place for place in places if place.endswith(".py")} == files, "the few files beside the rooms"
    assert rooms == sorted(rooms, key=lambda room: hybridvae.__doc__.index(f"`{room}` (")), "the package has the order"


def test_paths_in_the_guide_exist():
    named = [path for path in re.findall(r"`([^`\n]+)`", GUIDE) if IS_A_PATH.fullmatch(path)]
    assert {"params.yaml", "models/_base.py", "metrics/", "tests/test_dependencies.py"} <= set(named)
    assert not [path for path in named if not exists(path)]


def test_targets_in_the_guide_and_the_changes_exist():
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)", GUIDE + CHANGES, re.MULTILINE))
    assert {"test", "lock", "docs", "benchmark", "experiments"} <= named
    gone = {"compare"}
    assert all(re.search(rf"^{name}:", MAKEFILE, re.MULTILINE) for name in named - gone)


def moved():
    """Old and new module, or name in a module, from the table in the changelog."""
    return re.findall(r"^ *\| `(hybridvae[\w.]*)`[^|]*\| `(hybridvae[\w.]*)`[^|]*\|$", CHANGES, re.MULTILINE)


def test_what_moved_is_where_the_changelog_says():
    assert len(moved()) > 25
    for _, new in moved():
        path = PACKAGE.joinpath(*new.split(".")[1:])
        if not path.with_suffix(".py").is_file():
            module, _, name = new.rpartition(".")
            assert hasattr(importlib.import_module(module), name), new


def test_the_readme_leads_to_the_guide_and_the_changes():
    assert "](CONTRIBUTING.md)" in README and "](CHANGELOG.md)" in README
