"""A checkpoint that is not as it was written is refused in one sentence, whoever reads it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from boards import checkerboard, fitted, interactions_of
from conftest import ROOT

from hybridvae.checkpoint import Origin, model_card, read_checkpoint, write_checkpoint
from hybridvae.errors import UnreadableFileError
from hybridvae.models import Context
from hybridvae.recommendations import Recommendations

FIGURE = {"mean": 0.5, "low": 0.4, "high": 0.6}
VALIDATION = {"users": 20, "full": {"ndcg@10": FIGURE, "recall@10": FIGURE}}


@pytest.fixture
def checkpoint(tmp_path):
    """The folder of an EASE, and what it was fitted on."""
    known = interactions_of(checkerboard())
    origin = Origin("boards", "temporal", 1, {}, {}, {}, (), "", VALIDATION)
    write_checkpoint(tmp_path / "ease", "ease", fitted("ease", known), known, origin)
    return tmp_path / "ease", known


def card_of(name, origin):
    known = interactions_of(checkerboard())
    return model_card(name, fitted(name, known), known, origin)


def metadata_of(card):
    """What stands at the top, between two lines of ---."""
    _, front, rest = card.split("---\n", 2)
    assert rest.startswith("\n# ")
    return yaml.safe_load(front)


def test_a_card_begins_with_the_metadata_that_hugging_face_reads():
    figures = VALIDATION | {"sampled": {"ndcg@10": FIGURE | {"mean": 0.61239}, "recall@10": FIGURE}}
    figures["negatives"] = {"min": 99, "max": 99}
    origin = Origin("boards", "temporal", 1, {"licence": "mine: all"}, {}, {}, ("title",), "all-MiniLM-L6-v2", figures)
    card = card_of("ease", origin)
    metadata = metadata_of(card)
    assert metadata | {"model-index": []} == {
        "library_name": "hybridvae",
        "license": "other",
        "license_name": "terms-of-the-data",
        "license_link": "README.md#data",
        "datasets": ["boards"],
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "metrics": ["ndcg", "recall"],
        "tags": ["recommender", "collaborative-filtering", "sentence-transformers", "ease"],
        "model-index": [],
    }
    [model] = metadata["model-index"]
    [result] = model["results"]
    assert model["name"] == "EASE on boards" and result["dataset"]["split"] == "validation"
    assert [(one["type"], one["name"], one["value"]) for one in result["metrics"]] == [
        ("ndcg", "NDCG@10, full ranking", 0.5),
        ("recall", "Recall@10, full ranking", 0.5),
        ("ndcg", "NDCG@10, among 99 sampled negatives", 0.6124),
        ("recall", "Recall@10, among 99 sampled negatives", 0.5),
    ]
    assert "Fitted on a CPU." in card and "## Data" in card and "- licence: mine: all" in card


@pytest.mark.parametrize(
    ("fields", "encoder", "base"),
    [
        ((), "all-MiniLM-L6-v2", None),
        (("title",), "intfloat/e5-small", "intfloat/e5-small"),
        (("title",), "./mine", None),
        (("title",), "models/of/mine", None),
    ],
)
def test_a_card_names_the_text_encoder_where_the_model_reads_text_and_others_can_get_it(fields, encoder, base):
    card = card_of("ease", Origin("boards", "temporal", 1, {}, {}, {}, fields, encoder, VALIDATION))
    assert metadata_of(card).get("base_model") == base


def test_hugging_faces_own_reader_takes_the_metadata():
    cards = pytest.importorskip("huggingface_hub.repocard")
    card = cards.ModelCard(card_of("ease", Origin("boards", "temporal", 1, {}, {}, {}, (), "", VALIDATION)))
    assert [one.metric_value for one in card.data.eval_results] == [0.5, 0.5]
    assert card.data.license == "other" and card.data.library_name == "hybridvae"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def said_of(folder, known):
    """The one sentence that refuses a folder, however it is read."""
    with pytest.raises(UnreadableFileError) as one:
        Recommendations.load(folder, known, device="cpu")
    with pytest.raises(UnreadableFileError) as other:
        read_checkpoint(folder, known, Context(device="cpu"))
    assert str(one.value) == str(other.value)
    return str(one.value)


def test_every_file_of_the_model_has_its_hash_and_nothing_else_does(checkpoint):
    folder, known = checkpoint
    hashes = json.loads((folder / "checkpoint.json").read_text())["files_sha256"]
    assert set(hashes) == {"model.safetensors", "config.json", "items.parquet"}
    (folder / "README.md").write_text("Mine.")
    (folder / "notes.txt").write_text("Mine.")
    name, model, same = read_checkpoint(folder, known, Context(device="cpu"))
    assert name == "ease" and same is known and model.scores([0]).shape == (1, 20)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "items.parquet"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_file_is_refused_and_says_what_to_do(checkpoint, file, damage):
    folder, known = checkpoint
    damage(folder / file)
    reason = "is missing" if damage is Path.unlink else "is damaged: its hash is not the one in checkpoint.json"
    end = "run `dvc checkout --force`, or `dvc repro train@ease`."
    assert said_of(folder, known) == f"{folder} cannot be read ({file} {reason}): {end}"


def test_no_stage_loads_a_model_in_another_way():
    loads = {
        (file.name, match)
        for file in (ROOT / "stages").glob("*.py")
        for match in re.findall(r"read_checkpoint\(|\w+\.load\(|\bload\b", file.read_text())
    }
    wanted = {
        "evaluate.py": "read_checkpoint(",
        "visualize.py": "read_checkpoint(",
        "recommend.py": "Recommendations.load(",
    }
    assert loads == set(wanted.items())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ("[" * 100_000, "recursion"),
        ("\udcff", "can't decode"),
        ('{"model": "ease"}', "users_sha256"),
        ('{"model": "eare", "users_sha256": "", "files_sha256": {}}', "names a model that there is not"),
        ('{"model": "ease", "users_sha256": "", "files_sha256": []}', "no hashes of the files"),
        ('{"model": "ease", "users_sha256": ""}', "has no hashes of the files, as of an older version"),
    ],
)
def test_what_checkpoint_json_may_hold_instead(checkpoint, content, reason):
    folder, known = checkpoint
    (folder / "checkpoint.json").write_bytes(content.encode(errors="surrogateescape"))
    said = said_of(folder, known)
    assert reason in said and said.count("\n") == 0 and "dvc checkout --force" in said
