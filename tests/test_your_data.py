"""The page that leads from a shop's files to lists: its commands run as they stand, its names are those of the code."""

import json
import random
import re

import pandas as pd
import pytest
import yaml
from conftest import ROOT, tiny_metadata, tiny_reviews, write_lines
from projects import new_project

from hybridvae.data.reviews import COMMON, METADATA_FIELDS

PAGE = (ROOT / "docs/your-data.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_the_page_is_short_and_names_every_accepted_column():
    assert len(PAGE.split()) <= 750
    rows = re.findall(r"^\| ([\w, ]+) \| (.*) \|$", PAGE, re.MULTILINE)
    named = {what: re.findall(r"`(\w+)`", names) for what, names in rows}
    for what, accepted in COMMON.required.items():
        assert tuple(named[what]) == accepted
    assert named["title, text of a review"] == [*COMMON.title, *COMMON.text]
    described = [name for what, names in METADATA_FIELDS.items() if what != "item" for name in names]
    assert named["of an item"] == described and set(METADATA_FIELDS["item"]) == set(COMMON.item)


def test_the_page_has_the_addresses_and_hashes_of_the_catalogue():
    families = yaml.safe_load((ROOT / "sources.yaml").read_text())["families"]
    for family in families.values():
        for role in ("reviews", "metadata"):
            assert f"`{family[role].replace('{name}', 'NAME')}` |" in PAGE and family[f"{role}_sha256"] == {}
    for dataset in re.findall(r"`dataset=(\w+)-(\w+)`", PAGE):
        assert dataset[1] in families[dataset[0]]["names"]


@pytest.fixture
def shop(tiny_data, tmp_path):
    """A project in which lie a shop's CSV and the published files of Amazon."""
    project = new_project(tmp_path / "project", tmp_path / "cache", tiny_data)
    reviews, items = pd.DataFrame(tiny_reviews()), pd.DataFrame(tiny_metadata())
    reviews["timestamp"] = pd.to_datetime(reviews["timestamp"], unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    reviews = reviews.rename(
        columns={"user_id": "userId", "asin": "product_id", "rating": "stars", "timestamp": "date"}
    )
    reviews.to_csv(project.folder / "reviews.csv", index=False)
    items.rename(columns={"asin": "product_id", "title": "name"}).to_csv(project.folder / "items.csv", index=False)
    names = {"user_id": "reviewerID", "rating": "overall", "title": "summary", "text": "reviewText"}
    rows = [{names.get(k, k): v for k, v in row.items()} for row in tiny_reviews()]
    rows = [row | {"unixReviewTime": row.pop("timestamp") // 1000} for row in rows]
    random.Random(1).shuffle(rows)
    for name in ("Musical_Instruments", "Beauty"):
        write_lines(project.folder / f"reviews_{name}_5.json.gz", rows, compress=True)
    write_lines(project.folder / "meta_Beauty.json.gz", [repr(row) for row in tiny_metadata()], compress=True)
    project.environment["HYBRIDVAE_DATA"] = str(tmp_path / "local")
    return project


def test_every_command_of_the_page_does_what_the_page_says(shop, tmp_path):
    said = {}
    for command in COMMANDS:
        said[command] = shop.run("bash", "-c", command)
        if " source " in command:  # the one step by hand
            path = shop.folder / "sources.yaml"
            path.write_text(path.read_text().replace("sources:\n", f"sources:\n{said[command]}", 1))
        if "models=" in command:
            assert re.findall(r"Running stage 'train@(\w+)'", said[command]) == ["popularity", "ease"]
            assert yaml.safe_load((shop.folder / "params.yaml").read_text())["models"] == ["popularity", "ease"]
    first, alone, whole = [command for command in COMMANDS if "dvc exp run" in command]
    assert "Running stage 'recommend'" in said[first], "it goes on to the lists"
    assert alone.endswith("train@ease") and "Running stage" not in said[alone] + said[whole], "all of it is done"
    lists = pd.read_parquet(shop.folder / "data/recommend/my-shop/lists.parquet")
    assert lists["user_id"].nunique() == 40 and lists["item_id"].str.startswith("i").all()
    assert shop.json("metrics/clean.json")["described"] == 24
    assert "Guitar" in next(out for command, out in said.items() if " recommend " in command)
    files = {path.name for path in (tmp_path / "local").iterdir()}
    declared = yaml.safe_load((ROOT / "sources.yaml").read_text())["sources"]
    made = {
        declared[name][role]
        for name in ("musical_instruments", "beauty")
        for role in ("reviews", "metadata")
        if role in declared[name]
    }
    assert files == made, "under the names that sources.yaml declares"
    said = shop.run("dvc", "params", "diff", "--json")  # DVC may add a line on files that HEAD does not have
    changed, _ = json.JSONDecoder().raw_decode(said)
    assert changed["params.yaml"]["dataset"]["new"] == "my-shop"
