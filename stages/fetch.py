"""fetch: bring the raw files of the data set and check that they are the declared ones."""

import os
from pathlib import Path

from stage import DATASET, ROOT, cache, data, metrics, run

from hybridvae.data.sources import declared, fetch
from hybridvae.files import read_yaml, write_json


def main() -> str:
    local = os.environ.get("HYBRIDVAE_DATA")
    wanted = declared(read_yaml(ROOT / "sources.yaml"), DATASET)
    fetch(wanted, data("raw"), cache=cache(), local=Path(local).expanduser() if local else None)
    write_json(metrics("fetch.json"), {"dataset": DATASET, "source": wanted.block})
    return f"{', '.join(sorted(path.name for path in data('raw').iterdir()))} of {DATASET}"


run(main, wrote=[data("raw"), metrics("fetch.json")])
