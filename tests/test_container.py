"""The image of the service and the container for developers, as far as that can be told without building them."""

import json
import re
import tomllib

from conftest import ROOT

from hybridvae.__main__ import _parser

DOCKERFILE = re.sub(r"\s*\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
LINES = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
CONTAINER = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())


def of(instruction):
    return [line.removeprefix(f"{instruction} ") for line in LINES if line.startswith(f"{instruction} ")]


def test_what_is_copied_exists_and_is_let_through_and_nothing_else_is():
    copied = {path for line in of("COPY") if not line.startswith("--from") for path in line.split()[:-1]}
    assert copied and not [path for path in copied if not (ROOT / path).exists()]
    first, *rest = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*" and {line.removeprefix("!") for line in rest if line.startswith("!")} == copied
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], "LICENSE", "src"} <= copied, "which the package is built from"


def test_the_packages_are_those_of_the_lock():
    [install] = [line for line in of("RUN") if "pip install" in line]
    assert "--constraint requirements.lock ." in install


def test_it_runs_as_a_user_without_rights_whose_name_was_added():
    assert re.search(r"useradd .*\b(\w+)$", " ".join(of("RUN")))[1] == of("USER")[-1] != "root"
    assert LINES.index(f"USER {of('USER')[-1]}") < next(i for i, line in enumerate(LINES) if line.startswith("CMD"))


def test_it_serves_to_the_network_and_is_asked_for_its_health():
    entry, command = json.loads(of("ENTRYPOINT")[0]), json.loads(of("CMD")[0])
    arguments = _parser().parse_args(command)
    assert entry == ["python", "-m", "hybridvae"] and arguments.host == "0.0.0.0"
    assert of("EXPOSE") == [str(arguments.port)]
    [check] = of("HEALTHCHECK")
    assert f"http://127.0.0.1:{arguments.port}/health" in check
    assert '"/health"' in (ROOT / "src/hybridvae/service/app.py").read_text()
    compile(json.loads(check[check.index("[") :])[2], "HEALTHCHECK", "exec")


def test_the_stages_and_the_container_for_developers_have_one_supported_python():
    pythons = {re.match(r"python:(\d\.\d+)", image)[1] for image in [*of("FROM"), CONTAINER["image"]]}
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    assert len(pythons) == 1 and f'"{pythons.pop()}"' in workflow
    assert CONTAINER["postCreateCommand"] == "make setup" and CONTAINER["forwardPorts"] == [8000]
