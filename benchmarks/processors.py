"""How far the figures of another kind of processor are from the committed ones.

    python benchmarks/processors.py

Runs every stage again in a clone, from nothing, as `make reproduce` does: on this processor as it is, which need not be
that of the committed figures, and with the libraries told to leave out its newer instructions. Writes
docs/benchmarks/processors.json.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from command import REPOSITORY, RESULTS, ROOT, command_typed

from hybridvae.costs import processor_name
from hybridvae.errors import HybridVAEError
from hybridvae.files import cache_folder, read_json, write_json
from hybridvae.reporting.reproduction import differences

# By a name: what the libraries are told.
PROCESSORS: dict[str, dict[str, str]] = {
    "AVX2, without bfloat16": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    },
}


def main() -> None:
    """Run the command."""
    try:
        committed = metrics_of(ROOT)
        told = {f"{processor_name()}, as it is": {}, **PROCESSORS}
        measured = {name: measure(environment, committed) for name, environment in told.items()}
    except HybridVAEError as error:
        sys.exit(f"processors: {error}")
    report = {
        "dataset": REPOSITORY.params["dataset"],
        "command": command_typed("processors"),
        "commit": REPOSITORY.git("rev-parse", "HEAD").strip(),
        "judged": list(committed),
        "processors": measured,
    }
    write_json(RESULTS / "processors.json", report)
    print(f"processors: wrote {(RESULTS / 'processors.json').relative_to(ROOT)}")


def measure(environment: dict[str, str], committed: dict[str, Any]) -> dict[str, Any]:
    """What was told to the libraries, and by model how far NDCG@10 is from the committed figure."""
    with TemporaryDirectory(prefix="hybridvae-") as folder:
        clone, cache = Path(folder, "clone"), Path(folder, "cache")
        REPOSITORY.git("clone", "--quiet", str(ROOT), str(clone))
        cache.mkdir()
        (cache_folder() / "downloads").mkdir(parents=True, exist_ok=True)
        (cache / "downloads").symlink_to(cache_folder() / "downloads")
        told = os.environ | environment | {"HYBRIDVAE_CACHE": str(cache)}
        if subprocess.run(["dvc", "repro", "compare"], cwd=clone, env=told, check=False).returncode:
            raise HybridVAEError("a stage failed in the clone: see above.")
        apart = differences(metrics_of(clone), committed)
        return {"environment": environment, "models": apart}


def metrics_of(root: Path) -> dict[str, Any]:
    """Model -> what `metrics/test/<model>.json` holds in a clone."""
    return {name: read_json(root / "metrics" / "test" / f"{name}.json") for name in REPOSITORY.params["models"]}


if __name__ == "__main__":
    main()
