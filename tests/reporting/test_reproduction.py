"""Whether a table is the committed one, from two sets of metrics and what processors were measured to differ by."""

import json
import subprocess

import pytest

from hybridvae.reporting.reproduction import against_committed, differences


def metrics(full, sampled=0.4, **more):
    return {"full": {"ndcg@10": {"mean": full}, "sampled": {}}, "sampled": {"ndcg@10": {"mean": sampled}}} | more


@pytest.fixture
def committed(tmp_path):
    """A repository whose commit has three models' metrics and what processors differ by."""
    write(tmp_path, {"ease": metrics(0.2), "ials": metrics(0.3), "hybridvae": metrics(0.25)})
    (tmp_path / "params.yaml").write_text("dataset: tiny\n")
    measured = {"models": {"ials": {"full": 0.0001, "sampled": 0.0}, "hybridvae": {"full": 0.0005, "sampled": 0.002}}}
    (tmp_path / "docs/benchmarks").mkdir(parents=True)
    (tmp_path / "docs/benchmarks/processors.json").write_text(
        json.dumps({"judged": ["ease", "ials", "hybridvae"], "processors": {"older": measured}})
    )
    as_somebody = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*as_somebody, "commit", "--quiet", "--message", "All"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def write(root, test):
    (root / "metrics/test").mkdir(parents=True, exist_ok=True)
    for model, of_model in test.items():
        (root / f"metrics/test/{model}.json").write_text(json.dumps(of_model))


def test_only_models_whose_figures_differ_are_apart():
    these = {"a": metrics(0.2), "b": metrics(0.3, 0.5), "c": metrics(0.1)}
    those = {"a": metrics(0.2), "b": metrics(0.3001, 0.45), "d": metrics(0.1)}
    assert differences(these, those) == {"b": {"full": 0.0001, "sampled": 0.05}}


def test_the_same_figures_are_the_committed_table(committed):
    test = {"ease": metrics(0.2), "ials": metrics(0.3), "hybridvae": metrics(0.25)}
    assert against_committed(committed, test) == "It is the committed table, figure for figure."


def test_a_difference_within_what_was_measured_is_said_with_both_figures(committed):
    said = against_committed(committed, {"ease": metrics(0.2), "ials": metrics(0.3004), "hybridvae": metrics(0.25)})
    assert said == (
        "2 of 3 models are as in the committed table, figure for figure; the others (iALS) differ in NDCG@10 by "
        "0.000400 at most (iALS, full), within the 0.002000 that was measured between processors."
    )


@pytest.mark.parametrize(("model", "figure"), [("ease", 0.2001), ("hybridvae", 0.26)])
def test_a_greater_difference_or_one_of_a_closed_form_is_not_the_processors(committed, model, figure):
    test = {"ease": metrics(0.2), "ials": metrics(0.3), "hybridvae": metrics(0.25)} | {model: metrics(figure)}
    assert against_committed(committed, test).endswith("something else is different.")


def test_a_model_that_was_not_measured_is_said_to_be_none(committed):
    measured = json.loads((committed / "docs/benchmarks/processors.json").read_text()) | {"judged": ["ease", "ials"]}
    (committed / "docs/benchmarks/processors.json").write_text(json.dumps(measured))
    test = {"ease": metrics(0.2), "ials": metrics(0.3), "hybridvae": metrics(0.2501)}
    said = against_committed(committed, test)
    assert said.endswith("how far processors are apart was not measured yet for HybridVAE.")


def test_other_parameters_are_not_compared(committed):
    (committed / "params.yaml").write_text("dataset: other\n")
    assert "other parameters" in against_committed(committed, {"ease": metrics(0.2)})


def test_without_a_commit_there_is_nothing_to_compare_with(tmp_path):
    (tmp_path / "params.yaml").write_text("dataset: tiny\n")
    assert against_committed(tmp_path, {"ease": metrics(0.2)}) == (
        "No committed table is here to compare this one with."
    )
