"""The command line: `python -m hybridvae --help`."""

import argparse
import os
import sys
from pathlib import Path

import platformdirs

from hybridvae.errors import HybridVAEError
from hybridvae.files import sha256_of, write_text
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

    docs = commands.add_parser("docs", help="write the committed results into the README and docs/benchmarks")
    docs.add_argument("--root", type=Path, default=Path(), help="the repository (default: this folder)")
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


def _table(arguments: argparse.Namespace) -> None:
    from hybridvae.comparison import plain_report
    from hybridvae.docs import compared

    print(plain_report(*compared(arguments.metrics)))


def _docs(arguments: argparse.Namespace) -> None:
    from hybridvae.docs import documents

    for path, text in documents(arguments.root).items():
        write_text(path, text)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
