"""What stages cost is noted beside their results, and read again."""

from dataclasses import replace

from hybridvae.costs import Cost, note_cost, read_costs

COST = Cost("train", "shop", "temporal", "ease", {"recency": 0.5}, 1, "2", 5.0, 120.0)


def test_costs_are_read_in_the_order_in_which_they_were_noted(tmp_path):
    others = [COST, replace(COST, seconds=8.0, threads="1"), replace(COST, model=None, parameters=None, peak_mb=None)]
    for cost in others:
        note_cost(tmp_path / "cache", cost)
    assert list(read_costs(tmp_path / "cache")) == others
    assert not list(read_costs(tmp_path / "nowhere"))


def test_a_line_that_was_left_half_is_passed_over(tmp_path):
    note_cost(tmp_path, COST)
    with (tmp_path / "costs.jsonl").open("a") as file:
        file.write('{"stage": "train", "data\n{"stage": "of another version"}\n[1]\n')
    note_cost(tmp_path, COST)
    assert list(read_costs(tmp_path)) == [COST, COST]


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    note_cost(tmp_path / "file", COST)
    assert (tmp_path / "file").read_text() == ""
