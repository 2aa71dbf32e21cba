"""HybridVAE fitted by several processes of one thread each, started by torchrun."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scaling.drawn import HISTORY, drawn, hybridvae

# A step of few users is mostly exchange.
BATCH = {"batch_size": 2048, "softmax_items": 4000}


def processes(folder: Path, *, processes: int, positives: int, items: int) -> dict[str, Any]:
    """Users a second in the second epoch, in batches of `BATCH`."""
    into, here = folder / "together.json", Path(__file__).resolve()
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run(
        [sys.executable, "-m", *launcher, here, str(positives), str(items), into],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    found: dict[str, Any] = json.loads(into.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Fit in the process that torchrun started; the first one writes."""
    positives, items, into = sys.argv[1:]
    interactions = drawn(max(1, int(positives) // HISTORY), int(items))
    ends: list[float] = []
    hybridvae(epochs=2, **BATCH).fit(interactions, on_epoch=lambda *_: ends.append(time.perf_counter()))
    if os.environ["RANK"] == "0":
        seconds = ends[1] - ends[0]
        found = {"seconds": seconds, "users_a_second": interactions.n_users / seconds}
        found["users_a_step"] = BATCH["batch_size"]
        Path(into).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
