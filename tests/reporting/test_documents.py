"""Pages and overviews of benchmarks and ablations, from results made up here."""

import json
import shutil

import pytest
from conftest import ROOT

from hybridvae.errors import HybridVAEError
from hybridvae.reporting.documents import (
    ablation_overview,
    ablation_page,
    benchmark_figures,
    benchmark_page,
    documents,
    overview,
    pairs_overview,
    processors_table,
    service_table,
)
from hybridvae.reporting.markdown import LEGEND, gain_with_p, plain_report, with_sections
from hybridvae.reporting.results import compared


def a_report(dataset="shop", split="temporal"):
    def value(mean):
        return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}

    def of_model(level, test):
        protocols = {"sampled": {"ndcg@10": value(2 * level), "recall@10": value(level)}}
        protocols["full"] = {name: value(level) for name in ("ndcg@10", "recall@10", "recall@20", "mrr")}
        protocols["full"]["coverage@10"] = 0.5
        protocols["sampled"] |= {"hit@10": value(level), "mrr": value(level)}
        part = {"users": 2, "targets": 3, "full": value(level)}
        return protocols | {
            "users": 2,
            "targets": 3,
            "negatives": {"min": 30, "mean": 41.0, "max": 50},
            "slices": {"history": {"under 5": part}, "popularity": {"head": part}},
            "per_seed": [{"seed": 1, "sampled": 2 * level, "full": level}, {"seed": 2, "sampled": 0, "full": level}],
            "tests": test,
            "configs_tried": 3,
            "overrides": {"k": 20},
            "train_seconds": 12.3,
        }

    tests = {protocol: {"p_holm": 0.0123} for protocol in ("sampled", "full")}
    return {
        "dataset": dataset,
        "split": split,
        "ties": "item_id" if split == "temporal" else "drawn",
        "command": "make benchmark DATASET=shop SEEDS=2",
        "commit": "abcdef0123456789",
        "raw_sha256": "0" * 64,
        "seeds": [1, 2],
        "threads": 1,
        "models": {"itemknn": of_model(0.1, tests), "hybridvae": of_model(0.2, {})},
    }


def test_the_page_of_a_benchmark():
    page = benchmark_page(a_report(), ["toys-comparison.svg", "toys-slices.svg"])
    assert page.startswith("# shop, temporal split\n")
    assert "| model | NDCG@10, full (95 % interval) | Recall@10, full | p, full | NDCG@10, among 30 to 50 (95" in page
    assert "| HybridVAE | 0.2000 (0.1900-0.2100) | 0.2000 | - | 0.4000 (0.3900-0.4100) | 0.2000 | - | 0.50 |" in page
    assert "| Item-KNN | 0.1000 (0.0900-0.1100) | 0.1000 | 0.0123 | 0.2000 (" in page
    assert "| Item-KNN | 0.1000 ± 0.1414 | 0.1000 ± 0.0000 | 2 | 3 | k 20 | 12 |" in page
    assert "history of under 5 (2 users)" in page and "head (3 targets)" in page


def the_pairs(*protocols):
    """Of the autoencoders: text adds a quarter."""
    test = {
        "difference": 0.05,
        "relative": 0.25,
        "low": 0.1,
        "high": 0.4,
        "effect_size": 0.3,
        "p": 0.01,
        "p_holm": 0.02,
    }
    models = {"without": {"model": "multvae", "mean": 0.2}, "with_text": {"model": "hybridvae", "mean": 0.25}}
    return {protocol: {"autoencoder": models | test} for protocol in protocols}


A_PAIR = "0.2000 → 0.2500 | +25.0% (+10.0% to +40.0%) | 0.0200"


def test_the_page_of_a_benchmark_with_pairs_has_them_first():
    report = a_report() | {"pairs": the_pairs("sampled", "full")}
    page = benchmark_page(report, [f"toys-{kind}.svg" for kind in ("comparison", "pairs", "slices")])
    first, rest = page.split("## Comparison")
    assert "## Does text pay?\n\nA pair is" in first and "![toys-pairs.svg](figures/toys-pairs.svg)" in first
    assert f"| autoencoder | Mult-VAE | HybridVAE | {A_PAIR} | {A_PAIR} |" in first and "→" not in rest
    assert "Does text pay" not in benchmark_page(a_report(), ["toys-comparison.svg", "toys-slices.svg"])


def test_the_table_in_a_terminal_has_the_pairs_first_and_the_full_ranking_first():
    models = a_report()["models"]
    tests = {protocol: {"itemknn": {"p_holm": 0.0123}} for protocol in ("sampled", "full")}
    assert plain_report(models, tests, the_pairs("sampled", "full"), {}).splitlines() == [
        "Does text pay? NDCG@10, full ranking",
        "",
        "family          without text         with text       gain (95 % interval)       p",
        "-----------  ---------------  ----------------  -------------------------  ------",
        "autoencoder  Mult-VAE 0.2000  HybridVAE 0.2500  +25.0% (+10.0% to +40.0%)  0.0200",
        "",
        "Does text pay? NDCG@10, among 30 to 50 sampled negatives",
        "",
        "family          without text         with text       gain (95 % interval)       p",
        "-----------  ---------------  ----------------  -------------------------  ------",
        "autoencoder  Mult-VAE 0.2000  HybridVAE 0.2500  +25.0% (+10.0% to +40.0%)  0.0200",
        "",
        "All models",
        "",
        "                             full  Recall                  among 30 to 50  Recall        ",
        "model        NDCG@10 and interval     @10       p    NDCG@10 and interval     @10       p",
        "---------  ----------------------  ------  ------  ----------------------  ------  ------",
        "HybridVAE  0.2000 (0.1900-0.2100)  0.2000       -  0.4000 (0.3900-0.4100)  0.2000       -",
        "Item-KNN   0.1000 (0.0900-0.1100)  0.1000  0.0123  0.2000 (0.1900-0.2100)  0.1000  0.0123",
        "",
        LEGEND,
    ]
    assert plain_report(models, {}, {}, {}).startswith("All models\n\n"), "without a pair, and without HybridVAE"


@pytest.mark.parametrize("split", ["temporal", "cold_items"])
def test_the_table_in_a_terminal_is_at_most_100_columns_wide(split):
    models, tests, pairs = compared(ROOT / "metrics")
    if split == "cold_items":
        models = {name: of_model | {"cold": of_model["full"]} for name, of_model in models.items()}
    lines = plain_report(models, tests, pairs, {}).splitlines()
    assert lines[0] == "Does text pay? NDCG@10, full ranking"
    assert max(map(len, lines)) <= 100 and sum(line.startswith("SASRec with text ") for line in lines) in (1, 3)


def test_the_overview_of_pairs_has_a_row_for_each_data_set_and_family():
    other = a_report("fair") | {"pairs": the_pairs("full")}
    lines = pairs_overview([a_report() | {"pairs": the_pairs("full", "sampled")}, other]).splitlines()
    assert lines[0].startswith("A pair is") and lines[2].endswith(
        "| p, full | NDCG@10, among 30 to 50 | gain, among 30 to 50 (95 % interval) | p, among 30 to 50 |"
    )
    assert lines[4] == f"| [shop](docs/benchmarks/shop.md) | autoencoder | Mult-VAE | HybridVAE | {A_PAIR} | {A_PAIR} |"
    assert (
        lines[5] == f"| [fair](docs/benchmarks/fair.md) | autoencoder | Mult-VAE | HybridVAE | {A_PAIR} | - | - | - |"
    )
    other["models"]["itemknn"]["negatives"] = {"min": 7, "max": 7}
    assert "| NDCG@10, among negatives |" in pairs_overview([a_report() | {"pairs": the_pairs("sampled")}, other])


def test_pairs_are_not_shown_of_cold_items():
    for split, shown in (("global_temporal", True), ("cold_items", False)):
        report = a_report(split=split) | {"pairs": the_pairs("full", "sampled")}
        drawn = list(benchmark_figures("shop", report, None))
        assert ("shop-pairs.svg" in drawn) == shown
        assert ("## Does text pay?" in benchmark_page(report, drawn)) == shown


def test_the_readme_shows_pairs_once_there_are_any(tmp_path):
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    (tmp_path / "docs").mkdir()
    for page in (ROOT / "docs").glob("*.md"):
        shutil.copy(page, tmp_path / "docs")
    comparison = tmp_path / "metrics/comparison.json"
    known = {key: value for key, value in json.loads(comparison.read_text()).items() if key != "pairs"}
    (tmp_path / "docs/benchmarks").mkdir()

    def parts(pairs, **reports):
        comparison.write_text(json.dumps(known | pairs))
        for name, report in reports.items():
            (tmp_path / f"docs/benchmarks/{name}.json").write_text(json.dumps(report))
        texts = documents(tmp_path)
        pages = "".join(text for path, text in texts.items() if path.parent.name != "benchmarks")
        return texts, *(
            pages.partition(f"<!-- {name}: begin")[2].partition(f"<!-- {name}: end")[0] for name in ("pairs", "results")
        )

    _, pairs, results = parts({})
    assert pairs == " (written by `make docs`) -->\n" and "→" not in results
    _, pairs, results = parts(
        {"pairs": the_pairs("full")},
        shop=a_report(),
        cut=a_report("cut", "global_temporal") | {"pairs": the_pairs("full")},
    )
    assert pairs == " (written by `make docs`) -->\n", "the pairs of other splits stand on their pages"
    said, row, models = results.index("A pair is"), results.index(A_PAIR), results.index("All models:\n\n| model |")
    assert said < row < models
    texts, pairs, results = parts({"pairs": the_pairs("full")}, shop=a_report() | {"pairs": the_pairs("full")})
    assert f"| [shop](benchmarks/shop.md) | autoencoder | Mult-VAE | HybridVAE | {A_PAIR} |" in pairs
    short = texts[tmp_path / "README.md"].partition("<!-- answer: begin")[2]
    gain = "0.2000 → 0.2500, +25.0% (p = .020)"
    assert f"| [shop](docs/benchmarks/shop.md) | autoencoder: Mult-VAE → HybridVAE | {gain} |" in short
    assert f"| ml-100k, defaults | autoencoder: Mult-VAE → HybridVAE | {gain} |" in short
    assert A_PAIR in results and "A pair is" not in results, "it is said above"
    large = a_report("large") | {"pairs": the_pairs("full")}
    large["models"]["hybridvae"]["users"] = large["models"]["itemknn"]["users"] = 600
    pages, both, _ = parts({"pairs": the_pairs("full")}, large=large)
    short = pages[tmp_path / "README.md"].partition("<!-- answer: begin")[2]
    assert "[large]" in short and "[shop]" not in short, "two users say too little for the README"
    assert "[large]" in both and "[shop]" in both
    figure = tmp_path / "docs/benchmarks/figures/shop-pairs.svg"
    assert figure in texts and "figures/shop-pairs.svg" in texts[tmp_path / "docs/benchmarks/shop.md"]


def test_the_overview_puts_the_best_first_and_in_bold():
    lines = overview([a_report(), a_report("shop", "global_temporal")]).splitlines()
    assert "[shop-global_temporal](docs/benchmarks/shop-global_temporal.md), full" in lines[0]
    assert lines[2] == "| HybridVAE | **0.2000** | **0.4000** | **0.2000** | **0.4000** |"
    assert lines[3] == "| Item-KNN | 0.1000 | 0.2000 | 0.1000 | 0.2000 |"
    assert lines[0].endswith("(docs/benchmarks/shop-global_temporal.md), among 30 to 50 |")
    assert lines[-1] == "In shop the item's id decides the order of equal timestamps (`split.ties: item_id`)."


def an_ablation():
    def variant(full, changes=None, inapplicable=None):
        per_seed = [{"seed": seed, "full": value, "sampled": 2 * value} for seed, value in enumerate(full, 1)]
        return {"changes": changes or {}, "inapplicable": inapplicable, "per_seed": per_seed}

    variants = {
        "the default": variant([0.1, 0.3]),
        "without bias": variant([0.2, 0.1], {"hybridvae": {"item_bias": False}}),
        "titles alone": variant([], {"text": {"fields": ["title"]}}, "no item has such text"),
    }
    about = {"dataset": "shop", "command": "make ablation DATASET=shop SEEDS=2", "commit": "abcdef0123456789"}
    return about | {"seeds": [1, 2], "ties": "drawn", "epochs": 20, "variants": variants}


def test_the_page_of_an_ablation():
    page = ablation_page(an_ablation())
    assert "| the default | 0.2000 ± 0.1414 |  | 0.4000 ± 0.2828 |  |  |" in page
    assert "| without bias | 0.1500 ± 0.0707 | -25.0% | 0.3000 ± 0.1414 | -25.0% | 1 of 2 |" in page
    assert "| titles alone | - (no item has such text) |" in page
    assert "- without bias: `hybridvae.item_bias` False" in page
    assert "each was fitted for 20 epochs at most." in page


def test_the_overview_of_ablations():
    lines = ablation_overview([an_ablation()]).splitlines()
    assert lines[2:] == [
        "| the default | 0.2000 |",
        "| without bias | -25.0% |",
        "| titles alone | - |",
    ]
    other = an_ablation() | {"dataset": "fair", "remark": "It is older."}
    other["variants"] = other["variants"] | {"without text": other["variants"]["without bias"]}
    lines = ablation_overview([an_ablation(), other]).splitlines()
    assert lines[-1] == "| without text | - | -25.0% |", "what one data set alone has is shown too"
    assert "made at commit `abcdef012345`. It is older. The order of equal timestamps is drawn" in ablation_page(other)
    del other["command"]
    assert "from `fair-ablation.json`, of commit `abcdef012345`. It is older. The order" in ablation_page(other)


def test_a_section_goes_where_a_page_has_its_markers():
    page = "a\n<!-- one: begin (written by `make docs`) -->\nold\n<!-- one: end -->\nb\n"
    sections = {"one": "[x](docs/y.md) ![z](docs/z.svg) [w](plots/w.png)", "two": "nowhere"}
    assert with_sections(page, sections).splitlines()[3] == sections["one"]
    assert with_sections(page, sections, folder="docs/").splitlines()[3] == "[x](y.md) ![z](z.svg) [w](plots/w.png)"
    assert with_sections("no markers", sections) == "no markers"
    with pytest.raises(HybridVAEError, match="the section one has no end: add the line <!-- one: end -->"):
        with_sections(page.replace("<!-- one: end -->", ""), sections)


def test_a_section_that_no_page_has_a_place_for_is_named(tmp_path):
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("nothing\n")
    with pytest.raises(HybridVAEError, match="no place for answer: add the lines <!-- answer: begin"):
        documents(tmp_path)


@pytest.mark.parametrize(
    ("p", "said"), [(0.0004, "p < .001"), (0.0124, "p = .012"), (0.163, "p = .16"), (1.0, "p = 1.00")]
)
def test_a_gain_is_said_with_its_p(p, said):
    assert gain_with_p({"relative": 0.049, "p_holm": p}) == f"+4.9% ({said})"


def test_the_table_of_processors_says_which_models_give_the_same_file():
    measured = {"AVX2": {"models": {"ials": {"full": 0.000004, "sampled": 0.0}}}}
    report = {"dataset": "shop", "command": "python it.py", "judged": ["ease", "ials"], "processors": measured}
    lines = processors_table(report).splitlines()
    assert lines[0] == "`python it.py` on `shop`, the same seeds: every stage from nothing."
    assert lines[2].endswith("| AVX2, full | AVX2, sampled |")
    assert lines[4:] == ["| EASE | the same file | the same file |", "| iALS | 0.000004 | 0.000000 |"]


def test_the_load_of_the_service_counts_lists_where_many_histories_came_in_a_request():
    loaded = {"requests_a_second": 200.0, "p50_ms": 9.0, "p99_ms": 12.0, "errors": 0}
    report = {"command": "load.py", "processor": "AMD", "cores": 2, "users": 9, "items": 9, "connections": 64}
    report |= {"seconds": 60, "empty": loaded, "recommend": loaded, "milliseconds_a_list": 0.2, "cores_busy": 1.0}
    report |= {"seconds_to_ready": 2.0, "memory_mb": [500, 510], "soak_errors": [], "finished_in_flight": True}
    assert "lists a second" not in service_table(report)
    table = service_table(report | {"batch": loaded | {"histories": 100, "connections": 4}})
    assert "| lists a second, 100 histories a request, 4 connections | 20,000, 0 errors |" in table
