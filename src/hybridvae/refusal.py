"""A model that does not fit into the memory of this machine leaves the others running, and stands in the tables.

Its `validate` writes the sentence in place of results, and the stages after it hand it on.
"""

from pathlib import Path

from hybridvae.files import read_json, write_json

KEY = "refused"
_FILE = "refused.json"


def write_refusal(folder: Path, sentence: str) -> None:
    """Write why there are no results in a folder."""
    write_json(folder / _FILE, {KEY: sentence})


def refusal_in(folder: Path) -> str | None:
    """Why a folder has no results; None where it has them."""
    sentence: str | None = read_json(folder / _FILE, KEY)[KEY] if (folder / _FILE).is_file() else None
    return sentence
