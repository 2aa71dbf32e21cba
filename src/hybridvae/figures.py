"""Figures. Each is drawn by a function that takes a data frame, so that a notebook can call it."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from hybridvae.files import atomic_path

# Okabe & Ito's colours, told apart by colour-blind readers.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
_STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "svg.hashsalt": "hybridvae",  # the same picture gives the same bytes
    "legend.edgecolor": "none",
    "legend.framealpha": 1.0,  # curves must not run through the words
}


def training_curves(history: pd.DataFrame, *, chosen: int, title: str) -> Figure:
    """Loss, reconstruction, KL with its weight, and validation NDCG@10 over the epochs.

    Args:
        history: one row an epoch: loss, reconstruction, kl (nats a user), beta, and ndcg@10 where there was a
            validation.
        chosen: the epoch whose weights were kept, marked by a line.
    """
    epochs = range(1, len(history) + 1)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        fit, latent, quality = figure.subplots(1, 3)
        fit.plot(epochs, history["loss"], color=BLUE, label="loss")
        fit.plot(epochs, history["reconstruction"], color=ORANGE, linestyle="--", label="reconstruction")
        fit.set(title="Training loss", ylabel="nats a user")
        fit.legend()
        latent.plot(epochs, history["kl"], color=BLUE, label="KL")
        latent.set(title="KL divergence and its weight", ylabel="KL, nats a user")
        weight = latent.twinx()
        weight.plot(epochs, history["beta"], color=ORANGE, linestyle="--", label="beta (right)")
        weight.set(ylabel="beta", ylim=(0, None))
        weight.grid(visible=False)
        weight.spines["right"].set_visible(True)
        latent.legend(handles=[*latent.lines, *weight.lines], loc="center right")
        validated = history["ndcg@10"].dropna()
        quality.plot(validated.index + 1, validated, color=BLUE)
        quality.set(title="Validation, full ranking", ylabel="NDCG@10", ylim=(0, None))
        quality.axvline(chosen, color=GREEN, linestyle=":", label=f"chosen: epoch {chosen}")
        quality.legend(loc="lower left" if chosen > len(history) / 2 else "lower right")
        for axes in (fit, latent, quality):
            axes.set_xlabel("epoch")
        figure.suptitle(title)
    return figure


def comparison(values: pd.DataFrame, *, title: str) -> Figure:
    """NDCG@10 of all models with 95 % intervals, a panel a protocol, the best at the top.

    Args:
        values: rows of model, protocol, mean, low, high.
    """
    protocols = list(dict.fromkeys(values["protocol"]))
    titles = {"sampled": "Among 99 sampled negatives", "full": "Full ranking", "cold": "Among cold items"}
    order = values[values["protocol"] == "full"].sort_values("mean", kind="stable")["model"].tolist()
    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.08)
        figure = Figure(figsize=(10, 1.6 + 0.5 * len(order)), layout=layout)
        panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
        for panel, protocol in zip(panels, protocols, strict=True):
            rows = values[values["protocol"] == protocol].set_index("model").loc[order]
            errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            colours = [BLUE if model == "hybridvae" else GREY for model in order]
            panel.barh(order, rows["mean"], xerr=errors, color=colours, capsize=3, height=0.65)
            for place, (mean, high) in enumerate(zip(rows["mean"], rows["high"], strict=True)):
                panel.annotate(f"{mean:.3f}", (high, place), (6, 0), textcoords="offset points", va="center")
            panel.set(title=titles[protocol], xlabel="NDCG@10 (bar: mean, whisker: 95 % interval)")
            panel.set_xlim(0, 1.18 * rows["high"].max())
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.grid(visible=False, axis="y")
        figure.suptitle(title)
    return figure


def tuning(table: pd.DataFrame, *, title: str) -> Figure:
    """A heat map of a grid, beside its ten best configurations.

    Args:
        table: a row a configuration, the best first: the grid's parameters between the columns "experiment" and
            "ndcg@10"; the parameters that take more than one value span the map, half of them its rows.
    """
    done = table.dropna(subset="ndcg@10")
    names = list(table.columns)
    parameters = names[names.index("experiment") + 1 : names.index("ndcg@10")]
    varied = [name for name in parameters if table[name].map(str).nunique() > 1] or parameters[:1]
    split = (len(varied) + 1) // 2
    down, across = varied[:split], varied[split:]
    grid = _crossed(done, down, across)
    best = done.head(10)[::-1]
    with mpl.rc_context(_STYLE):
        height = max(3.6, 1.8 + 0.26 * (len(down) + 1) * len(grid), 1.6 + 0.42 * len(best))
        layout = ConstrainedLayoutEngine(wspace=0.06)
        figure = Figure(figsize=(4.6 + 0.95 * len(grid.columns) + 4.6, height), layout=layout)
        width = 1.2 + 0.95 * len(grid.columns)
        panel, bars = figure.subplots(1, 2, width_ratios=(width, 3.4))
        image = panel.imshow(grid, cmap="cividis", aspect="auto")
        middle = (image.norm.vmin + image.norm.vmax) / 2
        for row, values in enumerate(grid.to_numpy()):
            for column, value in enumerate(values):
                if not pd.isna(value):  # where the configuration was not run
                    colour = "black" if value > middle else "white"
                    panel.text(column, row, f"{value:.4f}", ha="center", va="center", color=colour, fontsize=9)
        panel.set(title="All configurations", xlabel=", ".join(across), ylabel=", ".join(down))
        panel.set_xticks(range(len(grid.columns)), grid.columns)
        panel.set_yticks(range(len(grid)), grid.index)
        panel.grid(visible=False)
        labels = best[varied].map(_short).agg(", ".join, axis=1)
        bars.barh(range(len(best)), best["ndcg@10"], color=[GREY] * (len(best) - 1) + [BLUE], height=0.65)
        bars.set_yticks(range(len(best)), labels)
        bars.set_ylabel(", ".join(varied))
        for place, value in enumerate(best["ndcg@10"]):
            bars.annotate(f"{value:.4f}", (value, place), (4, 0), textcoords="offset points", va="center")
        bars.set(
            title="The best ten" if len(done) > 10 else "In order",
            xlabel="NDCG@10",
            xlim=(0, 1.2 * best["ndcg@10"].max()),
        )
        bars.grid(visible=False, axis="y")
        bars.xaxis.set_major_locator(MaxNLocator(4))
        figure.suptitle(title)
    return figure


def _crossed(table: pd.DataFrame, down: list[str], across: list[str]) -> pd.DataFrame:
    """The highest figure of every combination of two groups of parameters, both in the order of their values."""

    def labels(names: list[str]) -> "pd.Categorical":
        of_rows = table[names].map(_short).agg("\n".join, axis=1) if names else pd.Series("", index=table.index)
        order = table[names].map(_sortable).sort_values(names).index if names else table.index
        return pd.Categorical(of_rows, categories=of_rows[order].unique())

    cells = pd.DataFrame({"row": labels(down), "column": labels(across), "value": table["ndcg@10"].to_numpy()})
    return cells.pivot_table(index="row", columns="column", values="value", aggfunc="max", observed=True)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sortable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as `name.png` and `name.svg`, without dates."""
    with mpl.rc_context(_STYLE):
        for suffix, extra in ((".png", {"Software": None}), (".svg", {"Date": None})):
            with atomic_path(folder / f"{name}{suffix}") as partial:
                figure.savefig(partial, format=suffix[1:], dpi=150, metadata=extra)
