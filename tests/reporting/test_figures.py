"""Figures: the frames they take, and that every word on them can be read."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from hybridvae.evaluation.families import FAMILIES
from hybridvae.reporting import figures
from hybridvae.reporting.figure_data import (
    ablation_frame,
    comparison_frame,
    cost_frame,
    pairs_frame,
    slices_frame,
    tuning_frame,
)
from hybridvae.reporting.model_titles import TITLES


def figure_of(mean):
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def model_of(mean, **more):
    return {"full": {"ndcg@10": figure_of(mean)}, "sampled": {"ndcg@10": figure_of(2 * mean)}} | more


def test_frames_hold_what_the_files_hold():
    negatives = {"negatives": {"min": 12, "mean": 12.0, "max": 12}}
    models = {"ease": model_of(0.2) | negatives, "mine": model_of(0.3, cold={"ndcg@10": figure_of(0.1)}) | negatives}
    frame = comparison_frame(models)
    assert frame["panel"].unique().tolist() == [
        "Among new items alone",
        "Full ranking",
        "Among 12 sampled negatives",
    ]
    assert comparison_frame({"ease": model_of(0.2)})["panel"].tolist()[1] == "Among sampled negatives"  # an older file
    assert frame[["model", "protocol", "mean"]].values.tolist() == [
        ["mine", "cold", 0.1],
        ["EASE", "full", 0.2],
        ["mine", "full", 0.3],
        ["EASE", "sampled", 0.4],
        ["mine", "sampled", 0.6],
    ]
    assert comparison_frame({"ease_text": model_of(0.2), "ease": model_of(0.2)})["text"].tolist() == [True, False] * 2
    assert cost_frame(models, {"ease": 2.5, "mine": None})[["model", "seconds"]].values.tolist() == [["EASE", 2.5]]
    sliced = {"slices": {"history": {"5-9": {"users": 7, "targets": 9, "full": figure_of(0.5)}}}}
    slices = slices_frame({"ease": sliced, "mine": model_of(0.3)})
    assert slices[["model", "slicing", "slice", "size", "low"]].values.tolist() == [["EASE", "history", "5-9", 7, 0.49]]


def pair_of(family, gain, *, low=-0.01, high=0.01, before=0.2):
    means = {"without": {"model": family.without, "mean": before}}
    means["with_text"] = {"model": family.with_text, "mean": before * (1 + gain)}
    return means | {"relative": gain, "low": gain + low, "high": gain + high, "p_holm": 0.01}


def test_pairs_are_read_with_their_titles():
    linear, sequential, *_ = FAMILIES
    unknown = {"relative": None, "low": None, "high": None}
    pairs = {"sampled": {"linear": pair_of(linear, 0.5), "sequential": pair_of(sequential, 0.0) | unknown}}
    pairs["full"] = {"linear": pair_of(linear, -0.5)}
    frame = pairs_frame(pairs, {"negatives": {"min": 7, "max": 7}})
    assert frame[["family", "panel", "before", "after", "gain"]].values.tolist()[:2] == [
        ["linear", "Full ranking", 0.2, 0.1, -0.5],
        ["linear", "Among 7 sampled negatives", 0.2, pytest.approx(0.3), 0.5],
    ]
    assert frame[["without", "with_text"]].values.tolist()[1:] == [
        ["EASE", "EASE with text"],
        ["SASRec", "SASRec with text"],
    ]
    assert frame[["gain", "low", "high"]].iloc[2].isna().all()


def test_an_ablation_is_read_seed_by_seed():
    def seeds(*values):
        return [{"seed": seed, "full": value, "sampled": 1.0} for seed, value in enumerate(values)]

    variants = {
        "the default": {"inapplicable": None, "per_seed": seeds(0.2, 0.4)},
        "without": {"inapplicable": None, "per_seed": seeds(0.1, 0.3)},
        "elsewhere": {"inapplicable": "no text", "per_seed": []},
    }
    frame = ablation_frame({"variants": variants, "negatives": {"min": 5, "mean": 6.0, "max": 7}})
    assert set(frame["panel"]) == {"Full ranking", "Among 5 to 7 sampled negatives"}
    assert frame[frame["protocol"] == "full"]["change"].round(6).tolist() == [-0.5, -0.25]
    assert set(frame["variant"]) == {"without"} and len(frame) == 4


def test_tried_configurations_come_best_first():
    tried = [
        {"parameters": {"a": 1, "b": 2}, "ndcg@10": 0.1, "seconds": 3},
        {"parameters": {"a": 2, "b": 2}, "ndcg@10": 0.3},
    ]
    frame = tuning_frame(tried)
    assert list(frame) == ["experiment", "a", "b", "ndcg@10"] and frame["a"].tolist() == [2, 1]


def drawn():
    """A figure of each kind, with as many models and as long names as there may be."""
    names = [*TITLES, "a_model_of_ones_own"]
    random = np.random.default_rng(0)
    models = {
        name: model_of(float(mean), cold={"ndcg@10": figure_of(float(mean) / 3)})
        | {
            "slices": {
                "history": {
                    part: {"users": 12345, "full": figure_of(float(mean)), "targets": 1}
                    for part in ("under 5", "5-9", "10-19", "20+")
                },
                "popularity": {
                    part: {"users": 1, "targets": 123456, "full": figure_of(float(mean))}
                    for part in ("head", "torso", "tail")
                },
            }
        }
        for name, mean in zip(names, random.uniform(0.0, 0.07, len(names)), strict=True)
    }
    yield "comparison", figures.comparison(comparison_frame(models), title="Models on a data set with a long name")
    yield "slices", figures.slices(slices_frame(models), title="Who and what is served well on amazon2023-Beauty")
    gains = (0.02, -0.2, 0.045, 1.8)
    pairs = {
        name: {one.name: pair_of(one, gain) for one, gain in zip(FAMILIES, gains, strict=True)}
        for name in ("sampled", "full", "cold")
    }
    pairs["cold"]["graph"] |= {"relative": None, "low": None, "high": None}
    pairs["cold"]["linear"] |= {"high": None}
    del pairs["sampled"]["sequential"]
    judged = {"negatives": {"min": 12, "max": 1099}}
    title = "Does text pay? musical_instruments-global_temporal, test part"
    yield "pairs", figures.pairs(pairs_frame(pairs, judged), title=title)
    del pairs["cold"]
    yield "two panels of pairs", figures.pairs(pairs_frame(pairs, judged), title=title)
    seconds = dict(zip(names, 10.0 ** random.uniform(-2, 3.5, len(names)), strict=True))
    frame = cost_frame(models, seconds)
    yield (
        "cost",
        figures.cost(
            frame, title="What quality costs on musical_instruments-global_temporal", subtitle="on 1 thread of a CPU"
        ),
    )
    changes = pd.DataFrame(
        [
            {"variant": f"without part number {part}, or a longer one", "protocol": protocol, "seed": seed}
            | {"panel": {"full": "Full ranking", "sampled": "Among 12 to 99 sampled negatives"}[protocol]}
            | {"change": float(random.normal(-0.02 * part, 0.01))}
            for part, protocol, seed in itertools.product(range(22), ("full", "sampled"), range(5))
        ]
    )
    yield "ablation", figures.ablation(changes, title="HybridVAE with one thing changed, musical_instruments")
    places = pd.DataFrame(random.normal(size=(3000, 2)), columns=["x", "y"])
    yield (
        "users",
        figures.users(places.assign(activity=random.integers(2, 400, 3000)), shows="t-SNE", title="Users"),
    )
    epochs = pd.DataFrame({"loss": np.linspace(70, 50, 60), "reconstruction": np.linspace(69, 45, 60)})
    epochs = epochs.assign(kl=np.linspace(0, 9, 60), beta=np.linspace(0, 0.1, 60))
    epochs["ndcg@10"] = np.where(np.arange(60) % 2, np.linspace(0.01, 0.06, 60), np.nan)
    yield "training_curves", figures.training_curves(epochs, chosen=52, title="HybridVAE on musical_instruments")
    values = ([0.25], [[256], [512]], [0.3, 0.5], [0.5, 1.0], [0.1])
    points = [*itertools.product(*values), (0.5, [256], 0.3, 0.5, 0.2)]
    names = ["whitening", "hidden_dims", "input_dropout", "recency", "target_recency"]
    grid = pd.DataFrame(points, columns=names)
    grid.insert(0, "experiment", "x")
    grid["ndcg@10"] = np.sort(random.uniform(0.04, 0.05, len(grid)))[::-1]
    yield "tuning", figures.tuning(grid, title="Hyperparameters of HybridVAE on musical_instruments")


def words(figure):
    """The texts of a figure that are drawn: ticks beyond the limits of their axis are not."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high:
                    beyond |= {tick.label1, tick.label2}
    return [
        text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible() and text not in beyond
    ]


FIGURES = dict(drawn())


@pytest.mark.parametrize("kind", FIGURES)
def test_nothing_overlaps_and_nothing_is_cut_off(kind):
    figure = FIGURES[kind]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole = figure.bbox
    shown = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in words(figure)]
    assert len(shown) > 8
    for said, box in shown:
        inside = box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1 and box.y0 >= whole.y0 - 1 and box.y1 <= whole.y1 + 1
        assert inside, f"{said!r} is cut off in {kind}"
    for (one, box), (other, further) in itertools.combinations(shown, 2):
        apart = box.padded(-1.5)
        assert not apart.overlaps(further.padded(-1.5)), f"{one!r} and {other!r} overlap in {kind}"


def test_each_model_has_a_look_of_its_own_and_families_share_colour_and_marker():
    looks = figures._LOOKS
    assert set(looks) == set(TITLES.values()) and len(set(looks.values())) == len(looks)
    for family in FAMILIES:
        without, with_text = (looks[TITLES[model]] for model in (family.without, family.with_text))
        assert (without.colour, without.marker) == (with_text.colour, with_text.marker)
        assert with_text.filled and not without.filled


def test_bars_tell_models_with_text_from_those_without():
    frame = comparison_frame(
        {name: {"full": {"ndcg@10": figure_of(0.2)}} for name in ("ease", "ease_text", "hybridvae")}
    )
    figure = figures.comparison(frame, title="Three")
    bars = [bar for bar in figure.axes[0].patches if bar.get_width() > 0]
    assert [bar.get_hatch() for bar in bars] == [None, "////", "////"]
    assert len({bar.get_facecolor() for bar in bars}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "HybridVAE, with text",
        "with text",
        "without text",
    ]


def test_the_colour_of_a_pair_says_on_which_side_of_zero_its_interval_lies():
    gains = zip(FAMILIES, (0.5, -0.5, 0.0, 0.5), strict=True)
    pairs = {"full": {family.name: pair_of(family, gain) for family, gain in gains}}
    pairs["full"]["autoencoder"] |= {"low": None}
    figure = figures.pairs(pairs_frame(pairs, {}), title="Four")
    markers = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s", "D")]
    assert [line.get_marker() for line in markers] == ["o", "s", "D", "D"], "without a lower bound it may be zero"
    assert [line.get_xdata()[0] for line in markers] == pytest.approx([50, -50, 0, 50])


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        frame = comparison_frame({"ease": model_of(0.2), "hybridvae": model_of(0.3)})
        figures.save(figures.comparison(frame, title="Twice"), tmp_path / folder, "comparison")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one/comparison.{suffix}").read_bytes() == (
            tmp_path / f"two/comparison.{suffix}"
        ).read_bytes()


def test_a_slice_of_few_users_is_paler_and_each_says_how_many_it_has():
    def part(users):
        return {"users": users, "targets": 9 * users, "full": figure_of(0.2)}

    history = {"under 5": part(1), "5-9": part(125), "10-19": part(500), "20+": part(9000)}
    models = {"hybridvae": model_of(0.2, slices={"history": history, "popularity": {"head": part(1000)}})}
    of_users, of_targets = figures.slices(slices_frame(models), title="Four slices").axes
    red, green, blue = to_rgb(figures.BLUE)
    colours = [to_rgb(container.lines[0].get_color()) for container in of_users.containers]
    assert [1 - colour[0] for colour in colours] == pytest.approx(
        [strength * (1 - red) for strength in (0.35, 0.5, 1, 1)], abs=1 / 255
    )
    assert colours[-1] == pytest.approx((red, green, blue)) == to_rgb(of_targets.containers[0].lines[0].get_color())
    labels = [label.get_text() for label in of_users.get_xticklabels()]
    assert labels == ["under 5\n1 user", "5-9\n125 users", "10-19\n500 users", "20+\n9,000 users"]
    assert of_users.get_xlabel() == "positives in the history; paler: fewer than 500 users"
    assert "paler" not in of_targets.get_xlabel()
