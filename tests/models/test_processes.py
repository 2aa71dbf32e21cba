"""Several processes that fit one network: the same gradients as one, the same fit but for noise, also after a kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from hybridvae.models._processes import ALONE, Processes

HERE = Path(__file__).parent


def started(folder, *arguments, processes=2, fails=False):
    """What each process of `by_processes.py` wrote."""
    folder.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    what, *rest = arguments
    done = subprocess.run(
        [sys.executable, *launcher, HERE / "by_processes.py", what, folder, *map(str, rest)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def test_gradients_are_added_up_and_the_first_process_decides(tmp_path):
    first, second = started(tmp_path, "sum")
    assert first == second
    assert first == {
        "tables": [
            [[1, 1], [0, 0], [2, 2], [2, 2], [0, 0]],
            [[0, 0], [0, 0], [0, 0], [0, 0], [3, 3]],
        ],
        "weight": [3, 6, 12],
        "figure": 0.25,
        "bytes": "of 0",
        "nothing": "",
    }


def test_each_process_takes_a_share_of_the_users_and_too_few_go_to_all():
    histories = sparse.csr_matrix([[1, 0], [0, 1], [1, 1]])
    shares = [Processes(rank, 2).share(histories) for rank in range(2)]
    assert [own.toarray().tolist() for own, _ in shares] == [[[1, 0], [1, 1]], [[0, 1]]]
    assert [weight for _, weight in shares] == [2 / 3, 1 / 3]
    own, weight = Processes(1, 2).share(histories[:1])
    assert own.toarray().tolist() == [[1, 0]] and weight == 1 / 2
    own, weight = ALONE.share(histories)
    assert own is histories and weight == 1


@pytest.mark.parametrize("name", ["multvae", "hybridvae"])
def test_two_processes_end_alike_and_within_noise_of_one(tmp_path, name):
    (one,) = started(tmp_path / "one", "fit", name, tmp_path / "a", 0, processes=1)
    first, second = started(tmp_path / "two", "fit", name, tmp_path / "b", 0)
    assert first["weights"] == second["weights"] and second["best"] == first["best"] > 0
    alone, together = ([figures["reconstruction"] for figures in of["history"]] for of in (one, first))
    assert np.mean(together) == pytest.approx(np.mean(alone), rel=0.1)
    best = [max(figures.get("ndcg@10", 0) for figures in of["history"]) for of in (one, first)]
    assert best[1] == pytest.approx(best[0], abs=0.06) and best[0] > 0.15


def test_processes_that_were_killed_go_on_and_end_the_same(tmp_path):
    (whole, _) = started(tmp_path / "whole", "fit", "multvae", tmp_path / "a", 0)
    assert started(tmp_path / "killed", "fit", "multvae", tmp_path / "b", 5, fails=True) == []
    first, second = started(tmp_path / "again", "fit", "multvae", tmp_path / "b", 0)
    assert first == whole and second["weights"] == whole["weights"]
