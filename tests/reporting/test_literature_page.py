"""The page that sets our models beside published figures, from results made up here."""

from hybridvae.reporting.literature import literature_overview, literature_page

METRICS = [f"{metric}@{k}" for metric in ("hit", "recall", "ndcg") for k in (5, 10, 20)]


def a_row(model, level, *, seed=42, ties="item_id", **more):
    row = {
        "ties": ties,
        "model": model,
        "seed": seed,
        "parameters": {"k": 20, "dims": [8, 4]},
        "settings_from": "chosen on validation" if model == "ease" else None,
        "commit": "abcdef012345",
    }
    row |= {"figures": dict.fromkeys(METRICS, level), "validation_ndcg@10": level, "seconds": 12.3, "threads": 2}
    return row | {"device": "cpu", "folds_in": True, "seeded": False, "epochs": 0, "epochs_run": 0} | more


def a_report(*rows):
    def published(model, level, source, ties="item_id", **more):
        return {"model": model, "source": source, "ties": ties, "figures": {"hit@10": 0.2, "ndcg@10": level} | more}

    sources = {
        "paper": {"name": "a paper of theirs", "caveat": "order of ties not said"},
        "rerun": {"name": "a repository, five seeds", "caveat": "ties shuffled"},
        "random": {"name": "another paper", "caveat": "another draw"},
    }
    theirs = [
        published("Theirs", 0.05, "paper"),
        published("Worse", 0.01, "paper"),
        published("Shuffled", 0.07, "rerun"),
    ]
    theirs[-1]["ties"] = "drawn"
    theirs.append({"model": "AlphaRec", "source": "random", "ties": "random_433", "figures": {"ndcg@20": 0.04}})
    return {
        "users": 1234,
        "items": 99,
        "command": "make literature DATA=...",
        "data_sha256": "0" * 64,
        "of_params": ["ease", "lightgcn", "svd"],
        "published": {"sources": sources, "rows": theirs},
        "literature": list(rows),
    }


GRAPH = {"folds_in": False, "seeded": True, "epochs": 7, "epochs_run": 9, "device": "NVIDIA H100"}
ROWS = [a_row("ease", 0.03), a_row("lightgcn", 0.06, **GRAPH), a_row("lightgcn", 0.08, seed=43, **GRAPH)]
DRAWN = [a_row("lightgcn", 0.02, ties="drawn", **GRAPH)]


def table_of(page, title):
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]


def test_ours_stand_marked_among_the_published_the_best_first():
    head, _, *rows = table_of(literature_page(a_report(*ROWS, *DRAWN)), "Ties by item id")
    assert head == ["model", "HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "source"]
    ndcg = head.index("NDCG@10")
    assert [(row[0], row[ndcg], row[-1]) for row in rows] == [
        ("**LightGCN**", "0.0700 ± 0.0141", "**here, 2 seeds**"),
        ("Theirs", "0.0500", "paper"),
        ("**EASE**", "0.0300", "**here**"),
        ("Worse", "0.0100", "paper"),
    ]
    assert rows[1][1] == rows[1][-2] == "-", "what a source does not give"


def test_each_order_of_ties_has_its_own_rows_and_a_table_only_where_there_are_ours():
    page = literature_page(a_report(*ROWS, *DRAWN))
    assert [row[0] for row in table_of(page, "Ties drawn")[2:]] == ["Shuffled", "**LightGCN**"]
    assert "## AlphaRec's own protocol" not in page and "another paper" not in page
    page = literature_page(a_report(a_row("lightgcn", 0.03, ties="random_433", **GRAPH)))
    assert "## Ties" not in page and "a paper of theirs" not in page
    head, _, *rows = table_of(page, "AlphaRec's own protocol")
    assert head == ["model", "Recall@20", "NDCG@20", "source"]
    assert rows == [["AlphaRec", "-", "0.0400", "random"], ["**LightGCN**", "0.0300", "0.0300", "**here, 1 seed**"]]


def test_sources_settings_and_what_was_not_done_are_said():
    page = literature_page(a_report(*ROWS, *DRAWN))
    assert "1,234 users and 99 items" in page and "`make literature DATA=...` made at `abcdef012345`" in page
    assert "- paper: a paper of theirs. Caveat: order of ties not said." in page
    assert "- EASE (chosen on validation): k 20, dims 8 x 4" in page
    assert "- LightGCN (as in params.yaml" in page
    assert ["LightGCN", "Ties by item id", "0.0700", "7 of 9, 7 of 9", "12", "NVIDIA H100"] in table_of(
        page, "Settings of our models"
    )
    assert "- Ranked by the training part alone, since no other history can be given: LightGCN. The" in page
    assert '- Fewer seeds than others have: LightGCN ("Ties drawn": 1 of 2).' in page
    assert '- Not run for "Ties drawn": EASE, SVD.' in page and "a random split, was not run" in page


def test_the_readme_has_the_best_of_both_and_the_way_to_the_page():
    lines = literature_overview(a_report(*ROWS)).splitlines()
    assert lines[2] == "| Ties by item id | LightGCN: 0.0700 | Theirs (a paper of theirs): 0.0500 |"
    assert len([line for line in lines if line.startswith("|")]) == 3, "no line for an order that was not run"
    assert "(docs/benchmarks/literature.md)" in lines[-1]
