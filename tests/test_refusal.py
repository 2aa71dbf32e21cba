"""A model too large for the memory, in the real pipeline: the others run, and the tables say why it is not in them."""

from pathlib import Path

from projects import MODELS, clone_with_outputs


def test_a_model_that_does_not_fit_leaves_the_others_running(done, tmp_path):
    project = clone_with_outputs(done, tmp_path / "clone", Path(done.environment["HYBRIDVAE_CACHE"]))
    project.set(models=[*MODELS, "ials"], ials__factors=65_536)  # 65,536 x 90 users and items x 8 bytes: 47 MB
    project.environment["HYBRIDVAE_MEMORY"] = "0.23"
    said = project.run("dvc", "repro")
    sentence = project.json("metrics/test/ials.json")["refused"]
    assert sentence.startswith("ials needs about ")
    assert sentence.endswith("are free: lower ials.factors; then run `dvc repro --force validate@ials`.")
    assert f"validate: ials on tiny was not fitted: {sentence}" in said
    comparison = project.json("metrics/comparison.json")
    assert comparison["models"] == list(MODELS) and comparison["refused"] == {"ials": sentence}
    for words in (said, project.run("python", "-m", "hybridvae", "table")):
        assert f"Not fitted: {sentence}" in words
    project.run("python", "-m", "hybridvae", "report", "report.html")
    assert "Not fitted: ials needs about" in (project.folder / "report.html").read_text()
    assert "factors" in project.run(
        "python", "-m", "hybridvae", "recommend", "--model", "ials", "--history", "i001", fails=True
    )
    project.set(recommend__model="ials")
    assert "no lists: ials was not fitted" in project.run("dvc", "repro")
    project.set(ials__factors=8)
    assert "ials on tiny" in project.run("dvc", "repro", "compare")
    assert project.json("metrics/comparison.json")["models"] == [*MODELS, "ials"]
