"""The command line: `python -m hybridvae --help`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import platformdirs

from hybridvae.errors import HybridVAEError
from hybridvae.files import read_json, sha256_of, write_text
from hybridvae.sources import obtain_url


def main() -> None:
    """Run a command; a mistake ends in one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m hybridvae", description="Helpers around the DVC stages.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    source = commands.add_parser("source", help="print the block of params.yaml that declares your files as a source")
    source.add_argument("reviews", help="path or http(s) address of the reviews (JSON lines, plain or gzip)")
    source.add_argument("metadata", nargs="?", help="path or address of the item metadata")
    source.add_argument("--name", default="my-data", help="name of the data set (default: %(default)s)")
    source.set_defaults(command=_source)

    table = commands.add_parser("table", help="print the comparison of the models, from the metrics files")
    table.add_argument("--metrics", type=Path, default=Path("metrics"))
    table.set_defaults(command=_table)

    docs = commands.add_parser("docs", help="write the results into the README, from the metrics files")
    docs.add_argument("--readme", type=Path, default=Path("README.md"))
    docs.add_argument("--metrics", type=Path, default=Path("metrics"))
    docs.set_defaults(command=_docs)

    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except HybridVAEError as error:
        sys.exit(f"hybridvae: {error}")


def _source(arguments: argparse.Namespace) -> None:
    remote = arguments.reviews.startswith(("http://", "https://"))
    lines = [f"  {arguments.name}:", f"    kind: {'url' if remote else 'file'}"]
    cache = Path(os.environ.get("HYBRIDVAE_CACHE") or platformdirs.user_cache_path("hybridvae"))
    for role in ("reviews", "metadata"):
        location = getattr(arguments, role)
        if location is None:
            continue
        if remote:
            path = obtain_url(location, cache / "downloads" / arguments.name)
        else:
            path = Path(location).expanduser().resolve()
            location = str(path)
            if not path.is_file():
                raise HybridVAEError(f"{path} does not exist: give the path of a JSON lines file.")
        lines += [f"    {role}: {location}", f"    {role}_sha256: {sha256_of(path)}"]
    print("\n".join(lines))


def _compared(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of the compared models, and the tests."""
    if not (folder / "comparison.json").is_file():
        raise HybridVAEError(f"{folder / 'comparison.json'} does not exist: run `dvc repro` first.")
    compared = read_json(folder / "comparison.json")
    return {name: read_json(folder / "test" / f"{name}.json") for name in compared["models"]}, compared["tests"]


def _table(arguments: argparse.Namespace) -> None:
    from hybridvae.comparison import plain_report

    print(plain_report(*_compared(arguments.metrics)))


def _docs(arguments: argparse.Namespace) -> None:
    from hybridvae.comparison import markdown_table

    table = markdown_table(*_compared(arguments.metrics))
    write_text(arguments.readme, with_results(arguments.readme.read_text(encoding="utf-8"), table))


def with_results(readme: str, table: str) -> str:
    """The text of a README with `table` between its results markers.

    Raises:
        HybridVAEError: the markers are not there.
    """
    begin, end = "<!-- results: begin (written by `make docs`) -->", "<!-- results: end -->"
    if begin not in readme or end not in readme:
        raise HybridVAEError(f"the README has no place for results: add the lines {begin} and {end}.")
    before, _, rest = readme.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n\n{table}\n{end}{after}"


if __name__ == "__main__":
    main()
