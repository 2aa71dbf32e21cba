"""What people read of a run: the report page, model cards, progress, the last line of a stage, the examples."""

import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml
from projects import MODELS, ROOT, clone, clone_with_outputs

from hybridvae.data.sources import datasets, declared
from hybridvae.errors import HybridVAEError
from hybridvae.files import sha256_of
from hybridvae.reporting.results import compared

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def page(done, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert f"wrote {path}" in done.run("python", "-m", "hybridvae", "report", str(path))
    return path


def test_the_report_shows_the_run_and_needs_nothing_else(done, page):
    html = page.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", html), "everything is in the page"
    for name in ("comparison", "slices", "training_curves", "users"):
        assert (done.folder / "plots/figures" / f"{name}.svg").is_file()
    assert html.count("data:image/svg+xml;base64,") == 5, "four figures, and cost since all fits were made here"
    test = done.json("metrics/test/hybridvae.json")["full"]["ndcg@10"]
    assert f"{test['mean']:.4f} <small>{test['low']:.4f}&ndash;{test['high']:.4f}</small>" in html
    assert "<b>440</b><span>ratings read</span>" in html and "<b>9</b><span>positives of the median user</span>" in html
    for sha256 in (sha256_of(path) for path in (done.folder / "data/raw/tiny").iterdir()):
        assert f"<code>{sha256}</code>" in html
    locked = yaml.safe_load((done.folder / "dvc.lock").read_text())["stages"]
    for model in MODELS:
        assert locked[f"train@{model}"]["outs"][0]["md5"] in html
    assert html.count('<tr><th scope="row">train</th>') == len(MODELS), "what each fit cost"
    assert "latent_dim: 8" in html


def test_a_run_with_both_models_of_a_family_shows_the_pair_first(done, tmp_path):
    project = clone_with_outputs(done, tmp_path / "clone", Path(done.environment["HYBRIDVAE_CACHE"]))
    project.set(models=[*MODELS, "multvae"], multvae__epochs=2)
    said = project.run("dvc", "repro", "visualize")
    pair = project.json("metrics/comparison.json")["pairs"]["full"]["autoencoder"]
    before, after = (
        project.json(f"metrics/test/{model}.json")["full"]["ndcg@10"]["mean"] for model in ("multvae", "hybridvae")
    )
    assert (pair["without"]["mean"], pair["with_text"]["mean"]) == (before, after)
    assert pair["relative"] == pytest.approx(after / before - 1, abs=1e-4) and pair["low"] <= pair["high"]
    row = rf"autoencoder +Mult-VAE {before:.4f} +HybridVAE {after:.4f} "
    for words in (said, project.run("python", "-m", "hybridvae", "table")):
        assert re.search(row, words).start() < words.index("All models")
    project.run("python", "-m", "hybridvae", "report", "report.html")
    html = (project.folder / "report.html").read_text()
    assert (
        f'<th scope="row">autoencoder</th><td>Mult-VAE</td><td>HybridVAE</td><td>{before:.4f} → {after:.4f}</td>'
        in html
    )
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert (
        captions[0].startswith("How far NDCG@10 with text") and (project.folder / "plots/figures/pairs.png").is_file()
    )


def test_figures_of_two_data_sets_are_not_put_side_by_side(done, tmp_path):
    shutil.copytree(done.folder / "metrics", tmp_path / "metrics")
    file = tmp_path / "metrics/test/itemknn.json"
    file.write_text(file.read_text().replace('"dataset": "tiny"', '"dataset": "huge"'))
    with pytest.raises(HybridVAEError, match=r"has figures of huge and tiny: run `dvc repro` first"):
        compared(tmp_path / "metrics")
    file.unlink()
    with pytest.raises(HybridVAEError, match="lacks itemknn: run `dvc repro` first"):
        compared(tmp_path / "metrics")


def test_stars_and_arrows_follow_the_tests(done, page):
    tests = done.json("metrics/comparison.json")["tests"]["full"]
    row = re.search(r"<tr><th scope=\"row\">Popularity</th>.*?</tr>", page.read_text(), re.DOTALL)[0]
    stars = re.findall(r"p = ([\d.]+) after Holm[^>]*>(\**)(&#96\d\d;)", row)[0]
    assert stars[0] == f"{tests['popularity']['p_holm']:.4f}" and stars[2] == "&#9650;", "HybridVAE is ahead"
    assert len(stars[1]) == sum(tests["popularity"]["p_holm"] < level for level in (0.05, 0.01, 0.001)) > 0


def test_results_of_another_data_set_are_not_shown(done, tmp_path):
    project = clone(done, tmp_path / "clone", tmp_path / "cache")
    project.set(dataset="elsewhere")
    said = project.run("python", "-m", "hybridvae", "report", fails=True)
    assert "metrics/ holds the results of tiny and params.yaml names elsewhere" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("width", "scheme", "background"), [(390, "dark", "16, 20, 24"), (1200, "light", "255, 255, 255")]
)
def test_the_report_opens_in_a_browser_without_a_network(browser, page, width, scheme, background):
    view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked, complaints = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda message: complaints.append(message.text))
    view.goto(page.as_uri())
    assert not complaints and [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert view.evaluate("document.scrollingElement.scrollWidth") == width, "nothing sticks out sideways"
    assert background in view.evaluate("getComputedStyle(document.body).backgroundColor")
    widths = view.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert len(widths) == 5 and min(widths) > 0
    view.close()


def test_on_a_phone_tables_and_charts_scroll_inside_themselves(browser, page):
    view = browser.new_page(viewport={"width": 390, "height": 800})
    view.goto(page.as_uri())
    table = view.get_by_role("region", name="All models")
    name, value = table.locator("tbody th").first, table.locator("tbody td").first
    before = name.bounding_box(), value.bounding_box()
    table.evaluate("element => element.scrollLeft = 80")
    assert name.bounding_box() == before[0], "the first column stands still"
    assert value.bounding_box()["x"] == before[1]["x"] - 80
    assert name.evaluate("element => getComputedStyle(element).backgroundColor") not in (
        "transparent",
        "rgba(0, 0, 0, 0)",
    )
    scales = view.evaluate("Array.from(document.images, image => image.width / image.naturalWidth)")
    assert min(scales) > 0.79, "words of 11 points are not scaled below some 12 pixels"
    assert view.evaluate("document.scrollingElement.scrollWidth") == 390
    view.close()


def test_costs_that_nobody_measured_here_are_named_with_what_measures_them(done, page, tmp_path):
    assert "measured on this machine" not in page.read_text(), "all was measured here"
    project = clone(done, tmp_path / "clone", tmp_path / "cache")
    project.run("python", "-m", "hybridvae", "report", "report.html")
    html = (project.folder / "report.html").read_text()
    assert "No stage was measured on this machine with this configuration: the results came by" in html
    assert "run <code>dvc repro --force</code>" in html and '<th scope="col">seconds</th>' not in html
    noted = (Path(done.environment["HYBRIDVAE_CACHE"]) / "costs.jsonl").read_text().splitlines(keepends=True)
    few = [line for line in noted if '"stage": "fetch"' in line or ('"stage": "train"' in line and "hybridvae" in line)]
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache/costs.jsonl").write_text("".join(few))
    project.run("python", "-m", "hybridvae", "report", "report.html")
    html = (project.folder / "report.html").read_text()
    said = "clean, split, embed, validate (4 of 4 models), train (3 of 4 models), evaluate (4 of 4 models), compare"
    assert f"with this configuration: {said}, visualize, recommend. Their results came by" in html
    assert html.count('<tr><th scope="row">train</th>') == 1


def test_a_model_card_says_what_the_checkpoint_is(done):
    for model in MODELS:
        card = (done.folder / "data/train/tiny" / model / "README.md").read_text()
        figures = done.json(f"metrics/validation/{model}.json")["full"]["ndcg@10"]
        assert f"{figures['mean']:.4f} ({figures['low']:.4f}-{figures['high']:.4f})" in card
        assert f"`{sha256_of(done.folder / 'data/raw/tiny/metadata.jsonl')}`" in card and "licence: not stated" in card
        assert "40 users, 24 items" in card and "{{" not in card and not re.search(r"\n{3}", card)
        assert ("all-MiniLM-L6-v2" in card) == (model == "hybridvae"), "the others read no text"
        code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
        assert len(done.run("python", "-c", code).splitlines()) >= (1 if model == "lightgcn" else 11)
    card = (done.folder / "data/train/tiny/hybridvae/README.md").read_text()
    assert re.search(r"\| chosen on validation \| `epochs` 4, `ease_weight` [0-9.]+ \|", card)
    assert "- `hybridvae.latent_dim`: 8" in card


def test_a_card_names_the_licence_of_its_data():
    catalogue = yaml.safe_load((ROOT / "sources.yaml").read_text())
    assert all(declared(catalogue, name).source.licence for name in datasets(catalogue))


def test_the_three_lines_of_the_readme_load_a_model(done):
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "load_model" in block)
    assert len([line for line in code.splitlines() if line]) == 3
    said = done.run(
        "python", "-c", code.replace("ml-100k", "tiny").replace('"50"', '"i001"').replace('"181"', '"i002"')
    )
    assert said.split()[:4] == ["rank", "item_id", "score", "title"]


@pytest.mark.parametrize(
    ("example", "arguments", "words"),
    [
        ("train_on_your_data.py", ["{data}/reviews.jsonl.gz", "{data}/metadata.jsonl"], "who likes i"),
        ("recommend_for_a_history.py", ["data/train/tiny/hybridvae", "i001", "i002"], "because of Guitar"),
        ("add_a_model.py", ["data/split/tiny"], "two steps: NDCG@10 0."),
        ("read_per_user_results.py", ["data/evaluate/tiny", "hybridvae", "itemknn"], "95 % interval"),
    ],
)
def test_the_examples_run(example, arguments, words, done):
    data = done.environment["HYBRIDVAE_DATA"]
    said = done.run("python", f"docs/examples/{example}", *(argument.format(data=data) for argument in arguments))
    assert words in said
    assert example in README


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "docs/examples").glob("*.py")))
def test_an_example_without_arguments_says_its_usage(example):
    command = [sys.executable, f"docs/examples/{example}"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2 and not outcome.stdout
    assert outcome.stderr.startswith(f"usage: python docs/examples/{example} ") and outcome.stderr.count("\n") == 1


def test_every_example_is_tested():
    examples = {path.name for path in (ROOT / "docs/examples").iterdir()}
    assert examples == {mark[0] for mark in test_the_examples_run.pytestmark[0].args[1]}


def test_each_stage_ends_with_what_it_wrote_and_how_long_it_took(done):
    said = re.findall(r"^(\w+): .*; wrote (\S.*) in [\d.]+ s(?:, peak memory [\d,]+ MB)?$", done.output, re.MULTILINE)
    ran = re.findall(r"Running stage '(\w+)", done.output)
    assert [stage for stage, _ in said] == ran
    for _, paths in said:
        for path in paths.split(", "):
            assert (done.folder / path).exists(), path
    assert " left" not in done.output and "\r" not in done.output, "no line of progress where nobody watches"


def test_progress_has_one_style_on_a_terminal():
    code = "from hybridvae.progress import name_stage, progress\nname_stage('embed')\n"
    code += "with progress(doing='encode', unit='texts', total=4, done=1) as bar:\n    bar.update(3)\n"
    code += "for _ in progress(iter('ab'), doing='read x', unit='lines'):\n    pass\n"
    seen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    subprocess.run([sys.executable, "-c", code], stderr=terminal, check=True)
    os.close(terminal)
    said = os.read(seen, 100_000).decode()
    assert re.search(r"embed, encode: 4 of 4 texts, .*texts/s, 00:00 left", said), said
    assert re.search(r"embed, read x: 2 lines, .*lines/s", said), said
