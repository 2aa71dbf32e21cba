"""fetch: bring the raw files of the data set and check that they are the declared ones."""

import os
from pathlib import Path

from stage import DATASET, PARAMS, cache, data, run

from hybridvae.sources import fetch, parse_source


def main() -> str:
    local = os.environ.get("HYBRIDVAE_DATA")
    source = parse_source(DATASET, PARAMS["sources"].get(DATASET))
    fetch(DATASET, source, data("raw"), cache=cache(), local=Path(local).expanduser() if local else None)
    return f"{', '.join(sorted(path.name for path in data('raw').iterdir()))} of {DATASET}"


run(main, wrote=[data("raw")])
