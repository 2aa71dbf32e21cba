"""The tables of README.md and docs/, from committed results: no number is typed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hybridvae.errors import UnreadableFileError
from hybridvae.evaluation.protocols import ABLATED, READING_ORDER, ProtocolName, titles
from hybridvae.files import read_json, read_yaml
from hybridvae.reporting import performance, scaling
from hybridvae.reporting.compute import compute_page
from hybridvae.reporting.figure_data import (
    ablation_frame,
    comparison_frame,
    cost_frame,
    pairs_frame,
    slices_frame,
    tuning_frame,
)
from hybridvae.reporting.literature import literature_overview, literature_page
from hybridvae.reporting.markdown import (
    PAIRS_SAID,
    answer_rows,
    bold,
    comparison_table,
    marker,
    not_fitted,
    paired_protocols,
    pairs_head,
    pairs_rows,
    pairs_table,
    shared_column,
    table,
    threads_in_words,
    with_sections,
)
from hybridvae.reporting.model_titles import title_of
from hybridvae.reporting.performance import curves, performance_page, speedups
from hybridvae.reporting.pipeline import mermaid
from hybridvae.reporting.results import compared, refused
from hybridvae.reporting.scaling import scale_frame, scale_section

Report = dict[str, Any]

ENOUGH_USERS = 500  # of a data set in the README's answer; with fewer, intervals are wider than most differences
_HOW = (
    "Then each was fitted on training + validation part, and judged on the test part. Figures are means over seeds, "
    "intervals are over users; p is of HybridVAE against the model, by a paired permutation test on per-user means "
    "over seeds, after Holm's correction."
)
_SLICED = (
    "Full-ranking NDCG@10 of users by the length of their history, and of single targets by the popularity of their "
    "item: head, torso and tail items each hold a third of all positives."
)


def documents(root: Path) -> dict[Path, str]:
    """Every document with results in it, as it should be: path -> text, which is SVG for figures.

    Args:
        root: the repository, with its README.md, metrics/ and docs/.

    Raises:
        UnreadableFileError: no page has the markers of a section, or no comparison was made yet.
    """
    folder = root / "docs" / "benchmarks"
    named = _read_all(folder)
    reports = list(named.values())
    tunings = _read_all(folder / "tuning")
    texts = _pages(folder, reports, tunings)
    if named:
        texts[root / "docs" / "compute.md"] = compute_page(named, tunings)
    if "peers" in named:
        texts[root / "docs" / "performance.md"] = performance_page(named["peers"])
        for name, figure in peers_figures(named["peers"]).items():
            texts[folder / "figures" / name] = figure
    sections = _sections(root, reports)
    pages = {
        path: path.read_text(encoding="utf-8")
        for path in (root / "README.md", *sorted((root / "docs").glob("*.md")))
        if path not in texts
    }
    for name in sections:
        if not any(marker(name)[0] in page for page in pages.values()):
            begin, end = marker(name)
            raise UnreadableFileError(f"README.md and docs/ have no place for {name}: add the lines {begin} and {end}.")
    for path, page in pages.items():
        inside = "" if path.parent == root else f"{path.parent.relative_to(root).as_posix()}/"
        texts[path] = with_sections(page, sections, folder=inside)
    return texts


def _read_all(folder: Path) -> dict[str, Report]:
    """The JSON files of a folder by their names without the ending, in order."""
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}


def _pages(folder: Path, reports: list[Report], tunings: dict[str, Report]) -> dict[Path, str]:
    """The pages of docs/benchmarks and their figures: path -> text."""
    texts: dict[Path, str] = {}
    for report in reports:
        if "models" in report:
            name = _name(report)
            tried = None if report.get("defaults") else tunings.get(name)
            drawn = benchmark_figures(name, report, tried)
            texts |= {folder / "figures" / file: svg for file, svg in drawn.items()}
            texts[folder / f"{name}.md"] = benchmark_page(report, list(drawn))
        if "variants" in report:
            texts |= {folder / "figures" / file: svg for file, svg in ablation_figures(report).items()}
            texts[folder / f"{report['dataset']}-ablation.md"] = ablation_page(report)
        if "parts" in report:
            texts[folder / "torture.md"] = torture_page(report)
        if "literature" in report:
            texts[folder / "literature.md"] = literature_page(report)
        if "scale" in report:
            texts |= {folder / "figures" / file: svg for file, svg in scale_figures(report).items()}
    return texts


def _sections(root: Path, reports: list[Report]) -> dict[str, str]:
    """Name -> content of each section of README.md and docs/*.md for which there are results."""
    benchmarks = [report for report in reports if "models" in report]
    paired = [report for report in benchmarks if report["split"] == "temporal" and report.get("pairs")]
    sections = {
        "answer": _answer(root, [report for report in paired if _any_model(report)["users"] >= ENOUGH_USERS] or paired),
        "pairs": pairs_overview(paired) if paired else "",
        "results": _results(root, explained=bool(paired)),
    }
    if (root / "dvc.yaml").is_file():
        sections["pipeline"] = mermaid(read_yaml(root / "dvc.yaml")["stages"])
    for section, temporal in (("benchmarks", True), ("splits", False)):
        if chosen := [report for report in benchmarks if (report["split"] == "temporal") == temporal]:
            sections[section] = overview(chosen)
    if ablations := [report for report in reports if "variants" in report]:
        sections["ablation"] = ablation_overview(ablations)
    for report in reports:
        for key, section, write in (
            ("checks", "judge", judge_table),
            ("literature", "literature", literature_overview),
            ("processors", "processors", processors_table),
            ("seconds_to_ready", "service", service_table),
            ("scale", "scale", scale_section),
        ):
            if key in report:
                sections[section] = write(report)
    return sections


def _answer(root: Path, paired: list[Report]) -> str:
    """Whether text pays, in short: the pairs of each report, and of what `dvc repro` compared last if it has none."""
    test, _, pairs = compared(root / "metrics")
    several = [(_linked(report), report["pairs"], _any_model(report)) for report in paired]
    any_model = next(iter(test.values()))
    if pairs and any_model["dataset"] not in {report["dataset"] for report in paired}:
        several.append((f"{any_model['dataset']}, defaults", pairs, any_model))
    if not several:
        return ""
    protocols = paired_protocols(pairs for _, pairs, _ in several)
    judged = [of_one for _, _, of_one in several]
    head = ["data set", "family: without text → with text"]
    head += [f"NDCG@10, {shared_column(protocol, judged)}" for protocol in protocols]
    return table(head, [[name, *row] for name, pairs, _ in several for row in answer_rows(pairs, protocols)])


def _results(root: Path, *, explained: bool) -> str:
    """The tables of the comparison in metrics/.

    Args:
        explained: the README says elsewhere how to read pairs.
    """
    test, tests, pairs = compared(root / "metrics")  # of whatever data set was compared last, so it says which
    any_model = next(iter(test.values()))
    parts = [f"Data set `{any_model['dataset']}`:", comparison_table(test, tests)]
    if pairs:
        said = [] if explained else [PAIRS_SAID]
        parts[1:1] = [*said, pairs_table(pairs, any_model).rstrip("\n"), "All models:"]
    return "\n\n".join([part.rstrip("\n") for part in [*parts, *not_fitted(refused(root / "metrics"))]])


def pairs_overview(reports: list[Report]) -> str:
    """Whether text pays: the pairs of every report, and how to read them.

    Args:
        reports: at least one; each with pairs.
    """
    protocols = paired_protocols(report["pairs"] for report in reports)
    head = ["data set", "family", *pairs_head(protocols, (_any_model(report) for report in reports))]
    rows = [[_linked(report), *row] for report in reports for row in pairs_rows(report["pairs"], protocols)]
    return f"{PAIRS_SAID}\n\n{table(head, rows)}{_by_item_id(reports)}"


def _linked(report: Report) -> str:
    """The name of a report, as a link to its page, and whether nothing was tuned for it."""
    link = f"[{_name(report)}](docs/benchmarks/{_name(report)}.md)"
    return f"{link}, defaults" if report.get("defaults") else link


def _any_model(report: Report) -> Report:
    """One of the models of a benchmark, for what is the same of all."""
    models: dict[str, Report] = report["models"]
    return next(iter(models.values()))


def overview(reports: list[Report]) -> str:
    """NDCG@10 of every model in every report by every protocol, the best in bold and the best mean rank first."""
    columns: dict[tuple[str, ProtocolName], dict[str, float]] = {
        (_name(report), protocol): {
            model: of_model[protocol]["ndcg@10"]["mean"]
            for model, of_model in report["models"].items()
            if protocol in of_model
        }
        for report in reports
        for protocol in READING_ORDER
    }
    columns = {key: column for key, column in columns.items() if column}
    ranks = pd.DataFrame(columns).rank(ascending=False).mean(axis=1)
    of_name = {_name(report): report for report in reports}
    head = ["NDCG@10"] + [
        f"{_linked(of_name[name])}, {titles(protocol, _any_model(of_name[name])).column}" for name, protocol in columns
    ]
    rows = []
    for model in ranks.sort_values(kind="stable").index.astype(str):
        cells = [
            bold(f"{column[model]:.4f}", column[model] == max(column.values())) if model in column else "-"
            for column in columns.values()
        ]
        rows.append([title_of(model), *cells])
    return table(head, rows) + _by_item_id(reports)


def _by_item_id(reports: list[Report]) -> str:
    """A line on the tables that are older than the drawn order of equal timestamps; empty where there are none."""
    old = [_name(report) for report in reports if report["ties"] == "item_id"]
    if not old:
        return ""
    return f"\nIn {', '.join(old)} the item's id decides the order of equal timestamps (`split.ties: item_id`).\n"


def benchmark_page(report: Report, drawn: list[str]) -> str:
    """The page of one benchmark: pairs, comparison, seeds, configurations, slices.

    Args:
        drawn: the names of its figures, which lie in the folder `figures` beside it.
    """
    shown = {file.removesuffix(".svg").rpartition("-")[2]: f"![{file}](figures/{file})\n" for file in drawn}
    models, any_model = report["models"], _any_model(report)
    tests: dict[str, dict[str, Any]] = {}
    for model, of_model in models.items():
        for protocol, test in of_model["tests"].items():
            tests.setdefault(protocol, {})[model] = test
    if report.get("defaults"):
        tuned = "Nothing was tuned here: the configurations are the defaults of `params.yaml`."
    elif report["split"] != "temporal":
        tuned = "The configurations are those that validation had chosen on the temporal split by then."
    else:
        tuned = "Each model's configuration was chosen on the validation part, by full-ranking NDCG@10."
    return (
        "\n".join(
            [
                f"# {report['dataset']}, {report['split']} split",
                "",
                f"{any_model['users']:,} users with {any_model['targets']:,} targets in the test part; seeds "
                f"{', '.join(map(str, report['seeds']))} for the models that draw. {tuned} {_HOW}",
                "",
                _origin(report, _name(report)),
                "",
                *_pairs(report, shown),
                "## Comparison",
                "",
                shown["comparison"],
                comparison_table(models, tests),
                *(f"{line}\n" for line in not_fitted(report.get("refused", {}))),
                "## Seeds and configurations",
                "",
                "NDCG@10, mean and standard deviation over seeds. Seconds are those of the final fit, on "
                f"{threads_in_words(report['threads'])}{_elsewhere(models)}.",
                "",
                _configurations(models),
                *(shown[kind] for kind in ("cost", "tuning") if kind in shown),
                "## Slices",
                "",
                _SLICED,
                "",
                shown["slices"],
                _slices(models, "history", "history of"),
                _slices(models, "popularity", ""),
            ]
        ).rstrip("\n")
        + "\n"
    )


def _pairs_of(report: Report) -> dict[str, Any]:
    """Its pairs; none of cold items, of which models without text know nothing, so that a gain is over nothing."""
    pairs: dict[str, Any] = report.get("pairs", {})
    return {} if report["split"] == "cold_items" else pairs


def _pairs(report: Report, shown: dict[str, str]) -> list[str]:
    """The lines of a benchmark's page on its pairs; none where it has no pairs."""
    if not (pairs := _pairs_of(report)):
        return []
    return ["## Does text pay?", "", PAIRS_SAID, "", shown["pairs"], pairs_table(pairs, _any_model(report))]


def ablation_page(report: Report) -> str:
    """The page of one data set's ablation: every variant by both protocols, beside the default."""
    head = ["HybridVAE", "full", "change", "sampled", "change", "seeds better than the default's"]
    usual, *_ = report["variants"].values()
    rows = []
    for name, variant in report["variants"].items():
        if variant["inapplicable"]:
            rows.append([name, f"- ({variant['inapplicable']})", "", "", "", ""])
            continue
        cells = [name]
        for protocol in ABLATED:
            values = _of_seeds(variant, protocol)
            spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
            cells += [f"{values.mean():.4f}{spread}", "" if variant is usual else _change(variant, usual, protocol)]
        better = int((_of_seeds(variant, "full") > _of_seeds(usual, "full")).sum())
        rows.append([*cells, "" if variant is usual else f"{better} of {len(variant['per_seed'])}"])
    changes = [
        f"- {name}: "
        + ", ".join(f"`{block}.{key}` {value}" for block, of in variant["changes"].items() for key, value in of.items())
        for name, variant in report["variants"].items()
        if variant["changes"]
    ]
    return "\n".join(
        [
            f"# {report['dataset']}, ablation of HybridVAE",
            "",
            "HybridVAE's default at the commit below, with one thing changed at a time. NDCG@10 on the **validation** "
            f"part of the temporal split, {_over(report['seeds'])}; the last column counts seeds by the full ranking. "
            f"No variant was tuned by itself; each was fitted for {report['epochs']} epochs at most.",
            "",
            _origin(report, f"{report['dataset']}-ablation"),
            "",
            f"![{report['dataset']}-ablation.svg](figures/{report['dataset']}-ablation.svg)",
            "",
            table(head, rows),
            "What each changes:",
            "",
            *changes,
            "",
        ]
    )


def ablation_overview(reports: list[Report]) -> str:
    """Every variant's change of NDCG@10 on the full ranking against the default, in every report."""
    head = ["HybridVAE, NDCG@10 on validation"] + [
        f"[{report['dataset']}](docs/benchmarks/{report['dataset']}-ablation.md)" for report in reports
    ]
    rows = []
    for name in dict.fromkeys(name for report in reports for name in report["variants"]):
        cells = [name]
        for report in reports:
            usual, *_ = report["variants"].values()
            variant = report["variants"].get(name, {"inapplicable": "not run"})
            if variant["inapplicable"]:
                cells.append("-")
            elif variant is usual:
                cells.append(f"{_of_seeds(usual, 'full').mean():.4f}")
            else:
                cells.append(_change(variant, usual, "full"))
        rows.append(cells)
    return table(head, rows)


def _of_seeds(variant: dict[str, Any], protocol: str) -> npt.NDArray[np.float64]:
    return np.array([of_seed[protocol] for of_seed in variant["per_seed"]])


def _change(variant: dict[str, Any], usual: dict[str, Any], protocol: str) -> str:
    return f"{_of_seeds(variant, protocol).mean() / _of_seeds(usual, protocol).mean() - 1:+.1%}"


def judge_table(report: Report) -> str:
    """The judge's figures beside the reference figures."""
    head = ["model", "protocol", "metric", "here", "reference", "deviation"]
    rows = [
        [
            check["model"],
            check["protocol"],
            check["metric"],
            f"{check['ours']:.4f}",
            f"{check['reference']:.4f}",
            f"{check['deviation']:+.1%}",
        ]
        for check in report["checks"]
    ]
    return table(head, rows)


def processors_table(report: Report) -> str:
    """How far the figures of other processors are from the committed ones."""
    head = ["NDCG@10 apart from the committed figure"] + [
        f"{name}, {protocol}" for name in report["processors"] for protocol in ("full", "sampled")
    ]
    rows = [
        [title_of(model)]
        + [
            f"{of['models'][model][protocol]:.6f}" if model in of["models"] else "the same file"
            for of in report["processors"].values()
            for protocol in ("full", "sampled")
        ]
        for model in report["judged"]
    ]
    how = f"`{report['command']}` on `{report['dataset']}`, the same seeds: every stage from nothing.\n\n"
    return how + table(head, rows)


def service_table(report: Report) -> str:
    """What the service held under load."""
    empty, full, cores = report["empty"], report["recommend"], report["cores"]
    before, after, *soaked = (f"{megabytes:,.0f} MB" for megabytes in report["memory_mb"])
    whole, listing = 1000 / full["requests_a_second"], report["milliseconds_a_list"]
    rows = [
        ["requests a second, each with another history", f"{full['requests_a_second']:,.0f}"],
        ["the same of an address that answers nothing", f"{empty['requests_a_second']:,.0f}"],
        ["ratio", f"{full['requests_a_second'] / empty['requests_a_second']:.0%}"],
        ["latency: median, 99th percentile", f"{full['p50_ms']:.0f} ms, {full['p99_ms']:.0f} ms"],
        [f"errors in {report['seconds']} s", f"{full['errors']:.0f}"],
        ["cores that the process kept busy", f"{report['cores_busy']:.2f}"],
        ["time of a request, and of it for computing the list", f"{whole:.2f} ms, {listing:.2f} ms"],
        *_batches(report),
        ["from the start to ready", f"{report['seconds_to_ready']:.1f} s"],
        ["memory before and after", f"{before}, {after}"],
    ]
    if soaked:
        errors = f"{sum(report['soak_errors']):.0f} errors"
        rows.append([f"memory after {len(soaked)} more minutes of it", f"{soaked[-1]}; {errors}"])
    rows.append(["1,000 lists in flight at SIGTERM", "answered" if report["finished_in_flight"] else "lost"])
    how = (
        f"`{report['command']}`: HybridVAE with {report['users']:,} users and {report['items']:,} items, one process; "
        f"wrk with {report['connections']} connections on the same {cores} cores ({report['processor']}).\n\n"
    )
    return how + table(["under load", "measured"], rows)


def _batches(report: Report) -> list[list[str]]:
    """What came of requests with many histories each, where they were sent."""
    if not (batch := report.get("batch")):
        return []
    lists = batch["requests_a_second"] * batch["histories"]
    said = f"lists a second, {batch['histories']} histories a request, {batch['connections']} connections"
    return [[said, f"{lists:,.0f}, {batch['errors']:.0f} errors"]]


def torture_table(report: Report) -> str:
    """What each part of `make torture` tried, and the faults that it found."""
    rows = []
    for name, row in report["parts"].items():
        minutes = f"{row['seconds'] / 60:,.1f}", f"{row['processor_seconds'] / 60:,.1f}"
        came = ", ".join(f"{count:,} {outcome}" for outcome, count in row["outcomes"].items())
        rows.append([f"{name}: {row['tried']}", f"{row['cases']:,}", came, f"{row['faults']:,}", *minutes])
    return table(["part", "cases", "what came of them", "faults", "minutes", "of the processor"], rows)


def torture_page(report: Report) -> str:
    """The page of `make torture`: the table, what counts as a fault, and those found with what shows them again."""
    lines = ["# What breaks", "", "What `make torture` tries, and what came of it.", "", torture_table(report)]
    for name, row in report["parts"].items():
        made = f"By `{row['command']}` at commit `{row['commit'][:12]}`, on {row['machine']}, seed {row['seed']}."
        lines += [f"## {name}", "", f"A fault is {row['counts']}. {made}", ""]
        for kind in row["kinds"]:
            said = " ".join(kind["said"].replace("`", "'").split())
            lines.append(f"- {kind['count']:,} x {kind['kind']}: `{said}`, case {kind['case']}")
        if row["more_kinds"]:
            lines.append(f"- {row['more_kinds']} more kinds")
        lines += [""] if row["kinds"] else ["None was found.", ""]
    lines.append("`python benchmarks/torture.py --only PART --seed N --case N` tries one case again.")
    return "\n".join(lines) + "\n"


def _configurations(models: Report) -> str:
    rows = []
    for model, of_model in models.items():
        cells = [title_of(model)]
        for protocol in ("sampled", "full"):
            values = [of_seed[protocol] for of_seed in of_model["per_seed"]]
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        overrides = ", ".join(f"{key} {value}" for key, value in of_model["overrides"].items())
        seconds = of_model["train_seconds"]
        cells += [str(len(of_model["per_seed"])), str(of_model["configs_tried"]), overrides or "defaults"]
        rows.append([*cells, "-" if seconds is None else f"{seconds:,.0f}"])
    return table(["model", "sampled", "full", "seeds", "configurations tried", "chosen", "seconds"], rows)


def _elsewhere(models: Report) -> str:
    """Which models were not fitted on the CPU; on one data set they may have come from several machines."""
    names = [title_of(model) for model, of_model in models.items() if of_model.get("device", "cpu") != "cpu"]
    return f"; {', '.join(names)} on a GPU" if names else ""


def _slices(models: Report, slicing: str, prefix: str) -> str:
    names = list(next(iter(models.values()))["slices"][slicing])
    sizes = next(iter(models.values()))["slices"][slicing]
    unit = "users" if slicing == "history" else "targets"
    head = ["model"] + [f"{prefix} {name} ({sizes[name][unit]:,} {unit})".strip() for name in names]
    best = {
        name: max(of_model["slices"][slicing][name]["full"]["mean"] for of_model in models.values()) for name in names
    }
    rows = []
    for model, of_model in models.items():
        values = [(name, of_model["slices"][slicing][name]["full"]["mean"]) for name in names]
        rows.append([title_of(model)] + [bold(f"{value:.4f}", value == best[name]) for name, value in values])
    return table(head, rows)


def _over(seeds: list[int]) -> str:
    """What the figures of so many seeds are."""
    return f"mean and standard deviation over seeds {', '.join(map(str, seeds))}" if seeds[1:] else f"seed {seeds[0]}"


def _origin(report: Report, name: str) -> str:
    """Which file a page was written from, and how that was made; one command did, or its remark says what did."""
    made = f"which `{report['command']}` made at" if "command" in report else "of"
    raw = f" from raw reviews with sha256 `{report['raw_sha256'][:12]}...`" if "raw_sha256" in report else ""
    written = f"Written by `make docs` from `{name}.json`, {made} commit `{report['commit'][:12]}`{raw}."
    ties = "drawn by `split.seed`" if report["ties"] == "drawn" else "that of the item's ids (`split.ties: item_id`)"
    remark = f" {report['remark']}" if "remark" in report else ""
    return f"{written}{remark} The order of equal timestamps is {ties}."


def _name(report: Report) -> str:
    split = report["split"]
    return str(report["dataset"] if split == "temporal" else f"{report['dataset']}-{split}")


def benchmark_figures(name: str, report: Report, tried: Report | None) -> dict[str, str]:
    """Comparison, pairs, slices and cost of a benchmark, and the configurations of HybridVAE that it tried.

    Args:
        name: of the report, e.g. "beauty-cold_items".
        tried: what `docs/benchmarks/tuning/<dataset>.json` holds, for reports that chose configurations.
    """
    from hybridvae.reporting import figures

    models = report["models"]
    drawn = {"comparison": figures.comparison(comparison_frame(models), title=f"Models on {name}, test part")}
    if pairs := _pairs_of(report):
        frame = pairs_frame(pairs, _any_model(report))
        drawn["pairs"] = figures.pairs(frame, title=f"Does text pay? {name}, test part")
    if any("slices" in of_model for of_model in models.values()):
        title = f"Who and what is served well on {name}, test part"
        drawn["slices"] = figures.slices(slices_frame(models), title=title)
    on_cpu = {
        model: of_model["train_seconds"] for model, of_model in models.items() if of_model.get("device", "cpu") == "cpu"
    }
    cost = cost_frame(models, on_cpu)
    if len(cost) > 2:
        untimed = ", ".join(title_of(model) for model in models if on_cpu.get(model) is None)
        said = f"the final fit, on {threads_in_words(report['threads'])} of a CPU"
        said += f"; not timed there: {untimed}" if untimed else ""
        drawn["cost"] = figures.cost(cost, title=f"What quality costs on {name}", subtitle=said)
    if tried is not None and len(tried["models"].get("hybridvae", [])) > 1:
        title = f"Hyperparameters of HybridVAE on {name}, validation part"
        drawn["tuning"] = figures.tuning(tuning_frame(tried["models"]["hybridvae"]), title=title)
    return {f"{name}-{kind}.svg": figures.svg(figure) for kind, figure in drawn.items()}


def peers_figures(report: Report) -> dict[str, str]:
    """How many times faster than other libraries each work is done; how long models train to what quality."""
    from hybridvae.reporting import figures

    drawn = {
        performance.FIGURE: figures.speedups(speedups(report), title=f"Beside other libraries, on {report['dataset']}")
    }
    if len(by_time := curves(report)):
        title = f"Quality by time of training on {report['dataset']}, {threads_in_words(report['threads'])}"
        drawn[performance.QUALITY_FIGURE] = figures.quality_by_time(by_time, title=title)
    return {name: figures.svg(figure) for name, figure in drawn.items()}


def ablation_figures(report: Report) -> dict[str, str]:
    """What each part of HybridVAE is worth on a data set."""
    from hybridvae.reporting import figures

    title = f"HybridVAE with one thing changed, {report['dataset']}"
    figure = figures.ablation(ablation_frame(report), title=title)
    return {f"{report['dataset']}-ablation.svg": figures.svg(figure)}


def scale_figures(report: Report) -> dict[str, str]:
    """How cost grows; none before anything that it shows was measured."""
    from hybridvae.reporting import figures

    frame = scale_frame(report)
    if frame.empty:
        return {}
    return {scaling.FIGURE: figures.svg(figures.scale(frame, title="How cost grows"))}
