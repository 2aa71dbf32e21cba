"""What tables cost, from reports made up here."""

from conftest import ROOT

from hybridvae.files import read_json
from hybridvae.reporting.compute import compute_page


def rows_of(page):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"][2:]


def test_hours_are_summed_over_models_and_seeds_and_what_has_none_is_named():
    seeds = [{"seed": 1}, {"seed": 2}]
    models = {
        "ease": {"train_seconds": 1800.0, "per_seed": seeds[:1], "device": "cpu"},
        "multvae": {"train_seconds": 2700.0, "per_seed": seeds},  # 1.5 hours
        "lightgcn": {"train_seconds": None, "per_seed": seeds, "device": "cuda"},
        "hybridvae": {"train_seconds": None, "per_seed": seeds, "device": "cpu"},
    }
    tried = {"processor_seconds": 360.0, "machine": "2 cores", "command": "make torture", "commit": "d" * 40}
    reports = {
        "shop": {"models": models, "threads": 2, "command": "make benchmark", "commit": "a" * 40},
        "shop-ablation": {"variants": {}, "command": "make ablation DATASET=shop", "commit": "b" * 40},
        "literature": {
            "literature": [
                {"seconds": 3600, "threads": 1, "commit": "c" * 40},
                {"seconds": 1800, "threads": 2, "commit": "c" * 40},
            ],
            "command": "make literature DATA=...",
        },
        "torture": {"parts": {"kills": tried, "damage": tried}},
        "service": {"command": "load", "processor": "AMD", "cores": 2},
    }
    fits = [{"seconds": 1080.0}, {"seconds": None}, {}]
    page = compute_page(reports, {"shop": {"models": {"ease": fits}}})
    assert rows_of(page) == [
        [
            "shop",
            "`make benchmark`",
            f"`{'a' * 12}`",
            "2.00",
            "LightGCN (GPU), HybridVAE",
            "2 threads of a CPU",
        ],
        ["shop-ablation", "`make ablation DATASET=shop`", f"`{'b' * 12}`", "-", "all", "-"],
        ["literature", "`make literature DATA=...`", f"`{'c' * 12}`", "1.50", "-", "1 or 2 threads of a CPU"],
        ["torture", "`make torture`", f"`{'d' * 12}`", "0.20", "-", "2 cores"],
        ["service", "`load`", "-", "-", "-", "2 cores, AMD"],
        ["tuning/shop", "-", "-", "0.30", "2 of 3 configurations", "-"],
        ["together", "", "", "4.0", "", ""],
    ]
    assert "Energy was not measured." in page and "hours x 2 cores" in page


def test_the_page_has_a_row_for_each_committed_table():
    names = [row[0] for row in rows_of((ROOT / "docs/compute.md").read_text())]
    files = sorted((ROOT / "docs/benchmarks").glob("*.json"))
    tuned = sorted((ROOT / "docs/benchmarks/tuning").glob("*.json"))
    assert names == [path.stem for path in files] + [f"tuning/{path.stem}" for path in tuned] + ["together"]
    assert all("models" in read_json(path) for path in tuned)
