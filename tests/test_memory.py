"""Memory: what is free under every limit, and the sentence of a model that would not fit."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from models.boards import checkerboard, interactions_of

from hybridvae import memory
from hybridvae.errors import BadParameterError, NotEnoughMemoryError
from hybridvae.memory import check_memory, free_memory, gigabytes
from hybridvae.models import Context, FitState, create, ease_text

GB = 10**9


def test_the_sentence_names_the_largest_thing():
    said = check_memory("ease", {"a matrix": 3 * GB, "lists": GB / 2}, "take it out", free=5 * GB)
    assert said == "ease needs about 3.7 GB of memory (3.0 GB for a matrix), and 5.0 GB are free"
    with pytest.raises(NotEnoughMemoryError, match=r"\(12 GB for a matrix\), and 5.0 GB are free: take it out\.$"):
        check_memory("ease", {"a matrix": 12 * GB, "lists": GB}, "take it out", free=5 * GB)


def test_sizes_below_a_gigabyte_are_megabytes():
    said = [gigabytes(size) for size in (0, 3.4e5, 3.4e6, 999.4e6, 999.6e6, 1.26e9, 9.94e9, 12.4e9)]
    assert said == ["0 MB", "0 MB", "3 MB", "999 MB", "1.0 GB", "1.3 GB", "9.9 GB", "12 GB"]


def group(folder, *, limit, used, cached):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - cached}\ninactive_file {cached}\n")


def test_limits_of_control_groups_count(tmp_path, monkeypatch):
    groups, processes = tmp_path / "groups", tmp_path / "cgroup"
    processes.write_text("0::/job/step\n")
    group(groups / "job/step", limit="max", used=10, cached=0)
    group(groups / "job", limit=GB, used=600_000_000, cached=100_000_000)
    monkeypatch.setattr(memory, "_GROUPS", groups)
    real = memory.Path
    monkeypatch.setattr(memory, "Path", lambda name: processes if name == "/proc/self/cgroup" else real(name))
    assert list(memory._below_groups()) == [500_000_000]
    assert free_memory() == 500_000_000
    # Version 1 has the memory's groups in a folder of their own.
    processes.write_text("4:memory,hugetlb:/box\n3:cpu:/box\n")
    box = groups / "memory/box"
    box.mkdir(parents=True)
    (box / "memory.limit_in_bytes").write_text("700000000")
    (box / "memory.usage_in_bytes").write_text("300000000")
    (box / "memory.stat").write_text("total_inactive_file 0\n")
    assert list(memory._below_groups()) == [400_000_000]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v is Linux's")
def test_a_limit_of_the_shell_counts():
    code = "from hybridvae.memory import free_memory; print(free_memory())"

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (2 * GB, 2 * GB))

    said = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, check=True
    ).stdout
    assert 0 < int(said) < 2 * GB


@pytest.mark.parametrize(
    "name", ["ease", "ease_text", "itemknn", "svd", "ials", "multvae", "lightgcn", "sasrec", "content"]
)
def test_a_model_refuses_before_it_starts(name, monkeypatch):
    interactions = interactions_of(checkerboard())
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    model = create(name, {}, Context())
    with pytest.raises(
        NotEnoughMemoryError, match=rf"^{name} needs about [23]\d\d MB of memory .* 0 MB are free: \w+ "
    ):
        model.fit(interactions)


def test_vectors_are_not_whitened_for_a_model_that_will_refuse(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    monkeypatch.setattr(ease_text, "whitened", lambda *_: pytest.fail("whitening takes memory"))
    with pytest.raises(NotEnoughMemoryError):
        create("ease_text", {}, Context()).fit(interactions_of(checkerboard()))


def test_what_grows_with_the_items_squared_is_said_of_a_large_catalogue():
    board = np.zeros((2, 30))
    board[0, :3] = board[1, 5:7] = 1  # 9 + 4 pairs of items
    needs = create("ease", {}, Context()).needs(interactions_of(board))
    assert needs == {"the matrix of all items with all items": max(12 * 900, 8 * 900 + 20 * 13)}


SMALL = {"hidden_dims": [8], "latent_dim": 4, "epochs": 1, "anneal_epochs": 0}


def test_hybridvae_leaves_out_ease_where_it_does_not_fit(monkeypatch, capsys):
    interactions = interactions_of(np.eye(3000, dtype=np.float32)[:40])  # EASE's matrix has 108 MB
    monkeypatch.setenv("HYBRIDVAE_MEMORY", "0.25")
    model = create("hybridvae", SMALL | {"ease_weight": None}, Context())
    check_memory("hybridvae", model.needs(interactions), model.if_too_large)
    model.fit(interactions, validation=lambda model: 1.0)
    assert model.chosen == {"epochs": 1, "ease_weight": 0.0} and model.ease is None
    assert "leaves out EASE" in capsys.readouterr().err
    assert np.isfinite(model.scores(np.arange(4))).all()
    asked = create("hybridvae", SMALL | {"ease_weight": 0.2}, Context())
    with pytest.raises(
        NotEnoughMemoryError, match=r"hybridvae: EASE needs about 309 MB .* set hybridvae.ease_weight to 0"
    ):
        asked.fit(interactions)
    with pytest.raises(NotEnoughMemoryError, match="for EASE's the matrix of all items"):
        check_memory("hybridvae", asked.needs(interactions), asked.if_too_large)
    monkeypatch.setenv("HYBRIDVAE_MEMORY", "0.5")
    assert create("hybridvae", SMALL | {"ease_weight": None}, Context()).fit(interactions).ease is not None


def test_a_fit_without_ease_does_not_go_on_from_one_with_it(monkeypatch, tmp_path):
    interactions = interactions_of(np.eye(3000, dtype=np.float32)[:40])
    for memory_in_gb, ease in ("0.25", False), ("0.5", True):
        monkeypatch.setenv("HYBRIDVAE_MEMORY", memory_in_gb)
        context = Context(state=FitState(tmp_path))
        model = create("hybridvae", SMALL | {"ease_weight": None}, context).fit(interactions)
        assert (model.ease is not None) == ease
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_a_network_is_held_against_the_memory_of_its_device(monkeypatch):
    interactions = interactions_of(checkerboard())
    model = create("multvae", {}, Context(device="cpu"))
    monkeypatch.setattr("hybridvae.models._epochs.free_on", lambda device: {"cpu": 10**12}.get(device, 1000))
    model.check_memory(interactions)
    model.device = type(model.device)("cuda")
    with pytest.raises(NotEnoughMemoryError, match="multvae needs"):
        model.check_memory(interactions)


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_a_limit_of_ones_own_counts(text, monkeypatch):
    monkeypatch.setenv("HYBRIDVAE_MEMORY", "0.5")
    assert free_memory() == GB // 2
    monkeypatch.setenv("HYBRIDVAE_MEMORY", text)
    with pytest.raises(BadParameterError, match=r"HYBRIDVAE_MEMORY is .* give a number of GB above 0"):
        free_memory()
