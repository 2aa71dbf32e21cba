"""The page of `make peers`, from rows made up here."""

import pytest

from hybridvae.reporting.documents import peers_figures
from hybridvae.reporting.performance import curves, performance_page, speedups


def a_row(work, library, run, seconds, **more):
    epochs = len(seconds) if work in ("multvae", "sasrec") else 0
    asked = {"parameters": {}, "threads": 2, "epochs": epochs}
    row = {"work": work, "library": library, "run": run, "seconds": seconds, "asked": asked}
    return row | {"versions": {library: "1.2"}, "commit": "a" * 40} | more


def a_work(title, *libraries, **more):
    return {"title": title, "what": "what is timed", "libraries": libraries, "against": "", "measure": "seconds"} | more


def a_report():
    works = {
        "multvae": a_work("Mult-VAE", "hybridvae", "recbole", against="recbole", bar=2.5),
        "sasrec": a_work("SASRec", "hybridvae", "recbole", "rectools", against="fastest", bar=2.0),
        "export": a_work("Lists", "hybridvae", measure="users_a_second", bar=10_000),
        "products": a_work("Matrix products in Mult-VAE", "hybridvae", measure="share", bar=0.6),
        "repro": a_work("`dvc repro`", "dvc", bar=3.0),
    }
    rows = [
        # The first epoch of each does not count: 2 s against 6 s, and 2 s against 4 s.
        a_row("multvae", "hybridvae", 1, [9.0, 2.0, 2.0], **{"ndcg@10": 0.05}),
        a_row("multvae", "recbole", 1, [9.0, 6.0, 6.0], **{"ndcg@10": 0.04}),
        a_row("multvae", "hybridvae", 2, [9.0, 2.0, 2.0], **{"ndcg@10": 0.05}),
        a_row("multvae", "recbole", 2, [9.0, 4.0, 4.0], **{"ndcg@10": 0.04}),
        a_row("multvae", "recbole", 3, [9.0, 400.0]),  # without ours of the same run
        a_row("sasrec", "hybridvae", 1, [1.0]),
        a_row("sasrec", "recbole", 1, [8.0]),
        a_row("sasrec", "rectools", 1, [1.5]),
        a_row("export", "hybridvae", 1, [0.5], users=6000),
        a_row("products", "hybridvae", 1, [0.5], share=0.61, profiled_share=0.58, rest={"aten::mul": 0.25}),
        a_row("repro", "dvc", 1, [3.5, 2.5, 2.75]),
    ]
    machine = {"processor": "AMD", "cores": 2, "threads": 2}
    left_out = {"not_measured": {"Cornac": "it does not install"}, "failed": {"ease, lenskit": "no room."}}
    return {"dataset": "shop", "works": works, "rows": rows} | machine | left_out


def cells(page):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]


def test_ratios_are_medians_over_runs_that_both_did_and_bars_are_for_the_fastest():
    rows = cells(performance_page(a_report()))
    multvae, recbole, rectools = rows[2:5]
    assert multvae == [
        "Mult-VAE",
        "RecBole 1.2",
        "2",
        "6",
        "2.5 (2 to 3)",
        "at least 2.5: met",
        "0.0500",
        "0.0400",
    ]
    assert recbole == ["SASRec", "RecBole 1.2", "1", "8", "8", "-", "-", "-"]
    assert rectools == ["", "RecTools 1.2", "1", "1.5", "1.5", "at least 2: missed", "-", "-"]


def test_works_without_a_peer_are_beside_their_bar():
    rows = cells(performance_page(a_report()))
    assert ["Lists", "12,000 users a second", "at least 10,000: met"] in rows
    assert ["Matrix products in Mult-VAE", "61% of an epoch", "at least 60%: met"] in rows
    assert ["`dvc repro`", "2.75 s", "at most 3 s: met"] in rows
    assert ["Mult-VAE", "58.0%", "mul 25.0%"] in rows


def test_the_page_says_where_it_was_measured_and_what_was_not():
    page = performance_page(a_report() | {"note": "Another program ran."})
    assert "Another program ran.\n\nOn `shop`, 2 cores (AMD), 2 threads, at commit `aaaaaaaaaaaa`." in page
    assert "dvc 1.2, hybridvae 1.2, recbole 1.2, rectools 1.2." in page
    assert "- Cornac: it does not install.\n- ease, lenskit: no room.\n" in page


def test_the_figure_has_a_bar_for_each_library_and_a_mark_where_one_is_asked_for():
    frame = speedups(a_report())
    assert frame["library"].tolist() == ["RecBole", "RecBole", "RecTools"]
    assert frame["ratio"].tolist() == pytest.approx([2.5, 8, 1.5])
    assert frame["bar"].isna().tolist() == [False, True, False]
    assert [*peers_figures(a_report())] == ["peers.svg"]


def test_fits_that_were_judged_as_they_went_are_a_table_and_a_line_each():
    report = a_report()
    work = a_work("LightGCN to 98 % of its best", "hybridvae", block="lightgcn", measure="curve", bar=1.0)
    report["works"]["quality_lightgcn"] = work
    curve = [[60.0, 0.02], [2_000.0, 0.0499], [2_400.0, 0.05], [2_800.0, 0.04]]
    report["rows"].append(a_row("quality_lightgcn", "hybridvae", 1, [2_000.0], own=0.05, whole=2_800.4, curve=curve))
    page = performance_page(report)
    assert ["LightGCN", "0.0500", "2,000", "2,400", "2,800"] in cells(page)
    assert "benchmarks/figures/quality-by-time.svg" in page and "- LightGCN to 98 % of its best: what is timed." in page
    assert curves(report).iloc[1].tolist() == ["LightGCN", 2_000.0, 0.0499]
    drawn = peers_figures(report)["quality-by-time.svg"]
    assert "LightGCN" in drawn and "NDCG@10 on validation" in drawn


def test_what_was_not_asked_for_is_named():
    report = a_report()
    report["rows"] = [row for row in report["rows"] if row["library"] != "rectools"]
    assert performance_page(report).endswith("no room.\n- SASRec: not measured so far (RecTools).\n")


def test_results_without_any_row_still_give_a_page():
    page = performance_page(a_report() | {"rows": []})
    assert "## Not measured" in page and page.count("not measured so far") == 5
