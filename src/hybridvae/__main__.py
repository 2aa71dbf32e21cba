"""The command line: `python -m hybridvae --help`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import yaml

from hybridvae.config import Block
from hybridvae.data.downloads import obtain_url
from hybridvae.errors import BadParameterError, UnreadableFileError, in_one_sentence
from hybridvae.files import cache_folder, sha256_of, write_text
from hybridvae.progress import standard_output, warn

_PROGRAM = "python -m hybridvae"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="`dvc repro` computes; these commands prepare, show and use what it computes.",
        epilog=f"example, after `dvc pull`:\n  {_PROGRAM} recommend --history 50,181\n\n"
        f"`{_PROGRAM} COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        command: Callable[[argparse.Namespace], None], name: str, says: str, example: str
    ) -> argparse.ArgumentParser:
        """A command with the line in the list of all, which is also its description, and an example of its use."""
        one = commands.add_parser(
            name,
            help=says,
            description=f"{says[0].upper()}{says[1:]}.",
            epilog=f"example:\n  {_PROGRAM} {name} {example}".rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(command=command)
        return one

    source = add(
        _source,
        "source",
        "look into your files, and print the block for sources.yaml that declares them",
        "reviews.jsonl.gz items.jsonl --name my-shop",
    )
    source.add_argument("reviews", help="path or http(s) address of the reviews: JSON lines, CSV or Parquet")
    source.add_argument("metadata", nargs="?", help="path or address of the item metadata, in the same form")
    source.add_argument("--name", default="my-data", help="name of the data set (default: %(default)s)")

    amazon = add(
        _from_amazon_2014,
        "from-amazon-2014",
        "make of Amazon's 5-core files of 2014 those that sources.yaml declares",
        "reviews_Beauty_5.json.gz --out amazon",
    )
    amazon.add_argument("reviews", type=Path, help="for instance reviews_Beauty_5.json.gz")
    amazon.add_argument("metadata", type=Path, nargs="?", help="for instance meta_Beauty.json.gz")
    amazon.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where they are written")
    amazon.add_argument("--drop-text", action="store_true", help="leave titles and texts of reviews empty")

    synthetic = add(
        _synthesize,
        "synthesize",
        "write invented reviews and metadata, as many as you want, to see how cost grows",
        "--rows 1_000_000 --items 20_000 --out invented",
    )
    synthetic.add_argument("--rows", type=int, required=True, metavar="N", help="reviews, a million in a file")
    synthetic.add_argument("--items", type=int, default=20_000, metavar="N", help="(default: %(default)s)")
    synthetic.add_argument("--seed", type=int, default=1, metavar="N", help="(default: %(default)s)")
    synthetic.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where they are written")

    table = add(_table, "table", "print how good the models are, from the files of the last `dvc repro`", "")
    table.add_argument("--metrics", type=Path, default=Path("metrics"), help="their folder (default: %(default)s)")

    tune = add(
        _tune,
        "tune",
        "try the configurations of a grid; the best one goes into params.yaml",
        "ease --dataset beauty --configurations 8",
    )
    tune.add_argument("models", nargs="*", default=["hybridvae"], metavar="MODEL", help="(default: hybridvae)")
    tune.add_argument("--dataset", help="set `dataset` in params.yaml first (default: what is there)")
    tune.add_argument("--grid", default="search", help="block of `grid` in params.yaml (default: %(default)s)")
    tune.add_argument("--configurations", type=int, metavar="N", help="try N at most (default: what the grid says)")
    tune.add_argument(
        "--minutes", type=float, metavar="N", help="begin none after N minutes of fits (default: likewise)"
    )
    tune.add_argument("--jobs", type=int, default=2, metavar="N", help="run N at a time (default: %(default)s)")

    experiments = add(
        _experiments, "experiments", "print the experiments of a model side by side, and means over seeds", "ease"
    )
    experiments.add_argument("model", nargs="?", default="hybridvae", metavar="MODEL", help="(default: %(default)s)")

    add(_mend, "mend", "repair what DVC left half written when it was killed", "")

    page = add(
        _plots_page,
        "plots-page",
        "write the page on which `dvc plots` shows charts without a network",
        ".venv/plots.html",
    )
    page.add_argument("path", type=Path, help="the file to write; `dvc config --local plots.html_template` names it")

    docs = add(_docs, "docs", "write the committed results into README.md and docs/", "")
    docs.add_argument("--root", type=Path, default=Path(), help="the repository (default: this folder)")

    report = add(_report, "report", "write the results of the last `dvc repro` as one HTML file", "report.html")
    report.add_argument("path", type=Path, nargs="?", default=Path("plots/report.html"), help="(default: %(default)s)")

    recommend = add(
        _recommend,
        "recommend",
        "print the best items for a history, by a trained model",
        "--history 50,181 --top-k 5 --model ease",
    )
    recommend.add_argument("--history", required=True, help="item ids, divided by commas, the latest last")
    recommend.add_argument("--top-k", type=_above_zero, default=10, metavar="N", help="(default: %(default)s)")
    recommend.add_argument("--model", default="hybridvae", help="(default: %(default)s)")
    recommend.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="one that the stage `train` wrote (default: that of --model)"
    )

    serve = add(_serve, "serve", "recommend over HTTP, with a page to try it", "--model ease --port 8080")
    serve.add_argument("--model", default="hybridvae", help="the one that answers by default (default: %(default)s)")
    serve.add_argument("--host", default="127.0.0.1", help="(default: %(default)s, this machine alone)")
    serve.add_argument("--port", type=_port, default=8000, help="(default: %(default)s)")
    help = "search for the best items in place of scoring all (docs/service.md; needs the extra ann)"
    serve.add_argument("--approximate", action="store_true", help=help)

    return parser


def main() -> None:
    """Run a command; a mistake, or a fault of the machine, ends in one sentence and exit code 1."""
    arguments = _parser().parse_args()
    with in_one_sentence("hybridvae"), standard_output():
        arguments.command(arguments)


def _params() -> Block:
    from hybridvae.parameters import read_params

    return read_params(Path("params.yaml"), passed=cache_folder() / "params.sha256")


def _source(arguments: argparse.Namespace) -> None:
    from hybridvae.data.reviews import look_at
    from hybridvae.data.sources import check_name, identity, part_files

    check_name(arguments.name)
    given = {"reviews": arguments.reviews} | ({"metadata": arguments.metadata} if arguments.metadata else {})
    remote = {location.startswith(("http://", "https://")) for location in given.values()}
    if len(remote) > 1:
        raise BadParameterError(
            "one of reviews and metadata is a file and the other an address: give both as the same."
        )
    block = {"kind": "url" if remote == {True} else "file"}
    found = [
        "# Put these lines below `sources:` in sources.yaml, indented as they are.",
        f"# Then run: dvc exp run -S dataset={arguments.name}",
    ]
    for role, location in given.items():
        if remote == {True}:
            path = obtain_url(location, cache_folder() / "downloads" / arguments.name)
        else:
            path = _path(location)
        report = look_at(part_files(path)[0], role)
        unit = "lines" if report.kind == "JSON lines" else "rows"
        layout = f"layout {report.layout}, " if report.layout else ""
        good = f"{report.kept} of the first {report.lines} {unit} are good"
        found.append(f"# {role}: {report.kind}, {layout}items by {report.id_field}; {good}")
        if report.first_reject:
            warn(f"of {path} {good}; {report.first_reject}")
        block |= {role: location if remote == {True} else str(path), f"{role}_sha256": identity(path)}
    written = yaml.safe_dump({arguments.name: block}, sort_keys=False, allow_unicode=True, width=10_000)
    print(indent("\n".join([*found, written]), "  "), end="")


def _synthesize(arguments: argparse.Namespace) -> None:
    from hybridvae.data.synthetic import Size, synthesize

    files = synthesize(arguments.out, Size(arguments.rows, arguments.items), seed=arguments.seed)
    print(f"wrote {arguments.rows:,} reviews into {len(files)} files, and metadata, in {arguments.out}")


def _from_amazon_2014(arguments: argparse.Namespace) -> None:
    from hybridvae.data.amazon2014 import convert_amazon_2014

    reviews, metadata = _file(arguments.reviews), _file(arguments.metadata) if arguments.metadata else None
    written = convert_amazon_2014(reviews, metadata, arguments.out, drop_text=arguments.drop_text)
    for path, lines in written.items():
        print(f"wrote {path}: {lines} lines, sha256 {sha256_of(path)}")


def _path(location: str | Path) -> Path:
    path = Path(location).expanduser().resolve()
    if not path.exists():
        raise UnreadableFileError(f"{path} does not exist: give the path of a file of JSON lines, CSV or Parquet.")
    return path


def _file(location: str | Path) -> Path:
    path = _path(location)
    if path.is_dir():
        raise UnreadableFileError(f"{path} is a folder: give the path of a file.")
    return path


def _table(arguments: argparse.Namespace) -> None:
    from hybridvae.reporting.markdown import plain_report
    from hybridvae.reporting.reproduction import against_committed
    from hybridvae.reporting.results import compared, refused

    test, tests, pairs = compared(arguments.metrics)
    print(plain_report(test, tests, pairs, refused(arguments.metrics)))
    print(against_committed(arguments.metrics.resolve().parent, test))


def _tune(arguments: argparse.Namespace) -> None:
    from hybridvae.experiments.listing import plain
    from hybridvae.experiments.tuning import Limits, trials_of, tune

    limits = Limits(arguments.configurations, arguments.minutes, arguments.jobs)
    params = _params()
    for model in arguments.models:  # all of them are known before the first one runs
        trials_of(params, model, arguments.grid, limits)
    for model in arguments.models:
        table, winner = tune(Path(), model, grid=arguments.grid, dataset=arguments.dataset, limits=limits)
        print(plain(table))
        values = ", ".join(f"{key} {value}" for key, value in winner.items())
        print(f"{model}: params.yaml has the winner's values now, and `dvc repro` trains with them: {values}")


def _experiments(arguments: argparse.Namespace) -> None:
    from hybridvae.experiments.listing import experiments, over_seeds, plain

    _params()
    table = experiments(Path(), arguments.model)
    print(plain(table))
    if len(seeds := over_seeds(table)):
        print(f"\nmean and standard deviation over seeds\n{plain(seeds)}")


def _mend(arguments: argparse.Namespace) -> None:
    from hybridvae.repository import Repository

    Repository(Path()).mend()


def _plots_page(arguments: argparse.Namespace) -> None:
    from hybridvae.experiments.plots_page import write_page

    write_page(arguments.path)


def _docs(arguments: argparse.Namespace) -> None:
    from hybridvae.reporting.documents import documents

    for path, text in documents(arguments.root).items():
        write_text(path, text)
        print(f"wrote {path}")


def _report(arguments: argparse.Namespace) -> None:
    from hybridvae.reporting.html import write_report

    write_report(Path(), arguments.path, cache=cache_folder())
    print(f"wrote {arguments.path}")


def _recommend(arguments: argparse.Namespace) -> None:
    from hybridvae.recommendations import load_model

    folder = arguments.checkpoint or Path("data/train", _params()["dataset"], arguments.model)
    history = [item.strip() for item in arguments.history.split(",") if item.strip()]
    print(load_model(folder).recommend(history, k=arguments.top_k).to_string(index=False))


def _serve(arguments: argparse.Namespace) -> None:
    from hybridvae.service import serve

    _params()
    address = f"http://{arguments.host}:{arguments.port}"
    print(f"serving {arguments.model}: {address} has a page, {address}/docs says what else it takes", flush=True)
    where = {"host": arguments.host, "port": arguments.port}
    serve(Path(), model=arguments.model, approximate=arguments.approximate, **where)


def _port(text: str) -> int:
    if _above_zero(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port: they go up to 65535")
    return int(text)


def _above_zero(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


if __name__ == "__main__":
    main()
