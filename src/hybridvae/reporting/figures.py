"""Figures. Each is drawn by a function that takes a data frame, so that a notebook can call it."""

import math
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.colors import LogNorm, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from hybridvae.evaluation.families import FAMILIES
from hybridvae.evaluation.protocols import ABLATED
from hybridvae.files import atomic_path, write_text
from hybridvae.reporting.model_titles import title_of

# Okabe & Ito's colours, told apart by colour-blind readers, and markers for those who print in grey.
BLUE, ORANGE, GREEN, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#999999", "#56B4E9"
_HYBRID = "HybridVAE"
_HATCH = "////"  # of bars with text, for those who print in grey
_MANY = 500  # users or targets: slices of at least so many are drawn in full colour
_PALEST = 0.35  # of the full colour: markers of any slice can still be told apart


@dataclass(frozen=True)
class _Look:
    """How the markers of a model look: the models of a family are alike, but filled where they read text."""

    colour: str
    marker: str
    filled: bool = True

    @property
    def style(self) -> dict[str, Any]:
        """What `errorbar` takes."""
        inside = self.colour if self.filled else "white"
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": inside, "linestyle": "none"}

    def paled(self, strength: float) -> "_Look":
        """The same with its colour mixed with white: 1 leaves the colour, 0 is white."""
        red, green, blue = (strength * part + 1 - strength for part in to_rgb(self.colour))
        return replace(self, colour=to_hex((red, green, blue)))  # opaque, so that markers cover whiskers


_OF_FAMILIES = {
    "linear": (ORANGE, "s"),
    "sequential": (GREEN, "^"),
    "graph": ("#CC79A7", "D"),
    "autoencoder": (BLUE, "o"),
}
_LOOKS = {
    "iALS": _Look("#E69F00", "v", filled=False),
    "Item-KNN": _Look(SKY, "P", filled=False),
    "Content-KNN": _Look("#000000", "X"),
    "Popularity": _Look("#777777", "d", filled=False),
    "SVD": _Look("#777777", "p", filled=False),
}
for _family in FAMILIES:
    _LOOKS[title_of(_family.without)] = _Look(*_OF_FAMILIES[_family.name], filled=False)
    _LOOKS[title_of(_family.with_text)] = _Look(*_OF_FAMILIES[_family.name])
_OTHER_LOOK = _Look("#8C6D31", "h", filled=False)
_STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "svg.hashsalt": "hybridvae",  # the same picture gives the same bytes
    "hatch.linewidth": 0.7,
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
        figure = Figure(figsize=(11, 3.6), layout=ConstrainedLayoutEngine(wspace=0.09))
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
    """NDCG@10 of all models with 95 % intervals, a panel a protocol, the best by the first protocol at the top.

    Args:
        values: rows of model, text (whether it reads the text of items), protocol, panel (its title), mean, low, high;
            a model that a protocol does not judge has no row there.
    """
    protocols = list(dict.fromkeys(values["protocol"]))
    first = values[values["protocol"] == protocols[0]].sort_values("mean", kind="stable")["model"].tolist()
    order = [model for model in dict.fromkeys(values["model"]) if model not in first] + first
    with_text = set(values.loc[values["text"], "model"])
    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.08)
        figure = Figure(figsize=(4.6 * len(protocols) + 0.8, 1.6 + 0.42 * len(order)), layout=layout)
        panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
        for panel, protocol in zip(panels, protocols, strict=True):
            chosen = values[values["protocol"] == protocol]
            rows = chosen.set_index("model").reindex(order)
            errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            bars = panel.barh(order, rows["mean"], xerr=errors, capsize=3, height=0.65)
            for bar, model in zip(bars, order, strict=True):
                bar.set(**_bar(model, text=model in with_text))
            for place, (mean, high) in enumerate(zip(rows["mean"], rows["high"], strict=True)):
                said, x = ("not judged", 0) if pd.isna(mean) else (f"{mean:.3f}", high)
                panel.annotate(said, (x, place), (6, 0), textcoords="offset points", va="center", fontsize=10)
            panel.set(title=chosen["panel"].iloc[0], xlabel="NDCG@10, with 95 % interval")
            panel.set_xlim(0, 1.2 * rows["high"].max())
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.grid(visible=False, axis="y")
        legend = {"with text": _bar("", text=True), "without text": _bar("", text=False)}
        if _HYBRID in order:
            legend = {f"{_HYBRID}, with text": _bar(_HYBRID, text=True)} | legend
        patches = [Patch(label=said, **look) for said, look in legend.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
        figure.suptitle(title)
    return figure


def _bar(model: str, *, text: bool) -> dict[str, Any]:
    """The look of a model's bar, which says whether the model reads text."""
    colour = BLUE if model == _HYBRID else SKY if text else GREY
    return {"facecolor": colour, "edgecolor": "white", "linewidth": 0, "hatch": _HATCH if text else None}


def pairs(values: pd.DataFrame, *, title: str) -> Figure:
    """The gain of NDCG@10 by text with its 95 % interval, a panel a protocol, a row a family.

    Args:
        values: rows of family, without, with_text (titles), protocol, panel (its title), before, after (NDCG@10 without
            and with text), gain, low, high (0.1: a tenth more); NaN where there is no such number.
    """
    families = list(dict.fromkeys(values["family"]))
    protocols = list(dict.fromkeys(values["protocol"]))
    names = values.drop_duplicates("family").set_index("family")
    # Three answers, told apart by colour, marker and filling.
    above, below, undecided = (f"the interval {word} zero" for word in ("is above", "is below", "holds"))
    looks = {above: _Look(BLUE, "o"), below: _Look(ORANGE, "s"), undecided: _Look("#555555", "D", filled=False)}
    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.05)
        figure = Figure(figsize=(4.8 * len(protocols) + 1.6, 1.9 + 0.6 * len(families)), layout=layout)
        panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
        seen = set()
        for panel, protocol in zip(panels, protocols, strict=True):
            rows = values[values["protocol"] == protocol].set_index("family").reindex(families)
            panel.axvline(0, color="#333333", linewidth=1)
            for place, row in enumerate(rows.to_dict("records")):
                said = "not judged" if pd.isna(row["before"]) else f"{row['before']:.4f} → {row['after']:.4f}"
                if not pd.isna(row["gain"]):
                    answer = above if row["low"] > 0 else below if row["high"] < 0 else undecided
                    seen.add(answer)
                    gain, low, high = (100 * row[key] for key in ("gain", "low", "high"))
                    # An end without a bound is not drawn: no axis could show it.
                    ends = [[0 if pd.isna(low) else gain - low], [0 if pd.isna(high) else high - gain]]
                    panel.errorbar(
                        gain, place, xerr=ends, capsize=4, markersize=8, elinewidth=1.6, **looks[answer].style
                    )
                    said = f"{gain:+.1f} %\n{said}"
                beside = panel.get_yaxis_transform()  # x in widths of the panel: the words are a column of their own
                panel.text(1.02, place, said, transform=beside, va="center", fontsize=10)
            panel.set(title=rows["panel"].dropna().iloc[0], xlabel="gain of NDCG@10, %, with 95 % interval")
            panel.set_ylim(len(families) - 0.6, -0.7)  # the first family at the top
            panel.margins(x=0.08)
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.grid(visible=False, axis="y")
        labels = [f"{one}:\n{names['without'][one]} → {names['with_text'][one]}" for one in families]
        panels[0].set_yticks(range(len(families)), labels)
        handles = [Line2D([], [], markersize=8, label=said, **looks[said].style) for said in looks if said in seen]
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.suptitle(title)
    return figure


def slices(values: pd.DataFrame, *, title: str) -> Figure:
    """NDCG@10 by history length and by popularity of the target, a marker a model, with 95 % intervals.

    A slice with few users is drawn pale, since its figures say little.

    Args:
        values: rows of model, slicing ("history" or "popularity"), slice, size, mean, low, high.
    """
    ways = {
        "history": ("Users by the length of their history", "positives in the history", "users"),
        "popularity": ("Targets by the popularity of their item", "a third of all positives each", "targets"),
    }
    looks = {model: _LOOKS.get(model, _OTHER_LOOK) for model in dict.fromkeys(values["model"])}
    markersizes = {model: 8 if model == _HYBRID else 6 for model in looks}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 7.6), layout=ConstrainedLayoutEngine(hspace=0.06))
        panels = figure.subplots(2, 1)  # one above the other: a dozen models need the width
        for panel, (slicing, (heading, what, counted)) in zip(panels, ways.items(), strict=True):
            chosen = values[values["slicing"] == slicing]
            sizes = dict(zip(chosen["slice"], chosen["size"], strict=True))
            names = list(sizes)
            many = min(_MANY, max(sizes.values(), default=1))
            for row in chosen.to_dict("records"):
                number = list(looks).index(row["model"])
                shift = 0.76 * (number - (len(looks) - 1) / 2) / len(looks)  # so that whiskers stand side by side
                panel.errorbar(
                    names.index(row["slice"]) + shift,
                    row["mean"],
                    yerr=[[row["mean"] - row["low"]], [row["high"] - row["mean"]]],
                    **looks[row["model"]].paled(_strength(row["size"], many)).style,
                    elinewidth=1.2,
                    markersize=markersizes[row["model"]],
                    clip_on=False,  # a marker at 0 is whole
                    zorder=3 if row["model"] == _HYBRID else 2,
                )
            for border in range(1, len(names)):
                panel.axvline(border - 0.5, color="#e5e5e5", linewidth=1)
            panel.set_xticks(range(len(names)), [f"{name}\n{_count(sizes[name], counted)}" for name in names])
            fewer = f"; paler: fewer than {many:,} {counted}" if min(sizes.values(), default=many) < many else ""
            panel.set(title=heading, xlabel=what + fewer, ylim=(0, None))
            panel.set_xlim(-0.5, len(names) - 0.5)
            panel.grid(visible=False, axis="x")
            panel.set_ylabel("NDCG@10, full ranking,\nwith 95 % interval")
        handles = [Line2D([], [], markersize=markersizes[one], label=one, **looks[one].style) for one in looks]
        figure.legend(handles=handles, loc="outside right center")
        figure.suptitle(title)
    return figure


def _strength(size: int, many: int) -> float:
    """How strongly a slice is drawn: by the root of its size, as an interval's width goes."""
    return max(_PALEST, min(1.0, math.sqrt(size / many)))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what.removesuffix('s') if number == 1 else what}"


def cost(values: pd.DataFrame, *, title: str, subtitle: str) -> Figure:
    """Full-ranking NDCG@10 against the seconds of the final fit: what quality costs.

    Args:
        values: rows of model, seconds, mean, low, high.
        subtitle: on what machine the time was taken.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        panel = figure.subplots()
        for row in values.to_dict("records"):
            panel.errorbar(
                row["seconds"],
                row["mean"],
                yerr=[[row["mean"] - row["low"]], [row["high"] - row["mean"]]],
                **_LOOKS.get(row["model"], _OTHER_LOOK).style,
                capsize=3,
                markersize=9,
                label=row["model"],
            )
        _of_seconds(panel, values["seconds"])
        panel.set(xlabel="seconds to fit (logarithmic)", ylabel="NDCG@10, full ranking, with 95 % interval")
        panel.set_ylim(0, None)
        panel.set_title(fill(subtitle, 72), fontsize=11)
        figure.legend(*panel.get_legend_handles_labels(), loc="outside right center")
        figure.suptitle(title)
    return figure


def _of_seconds(panel: Any, seconds: pd.Series) -> None:
    """Make the horizontal axis one of seconds, logarithmic, with three numbers a decade where there are few decades."""
    panel.set_xscale("log")
    if seconds.max() < 100 * seconds.min():
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def speedups(values: pd.DataFrame, *, title: str) -> Figure:
    """How many times faster than other libraries: a bar for each of them, from the ratio's 1.

    Args:
        values: rows of work, library, ratio, low, high and bar, which is NaN where nothing is asked for.
    """
    rows = values.iloc[::-1].reset_index(drop=True)
    places = list(rows.index)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.4 + 0.4 * len(rows)), layout="constrained")
        panel = figure.subplots()
        panel.barh(places, rows["ratio"] - 1, left=1, color=[BLUE if ratio >= 1 else ORANGE for ratio in rows["ratio"]])
        errors = [rows["ratio"] - rows["low"], rows["high"] - rows["ratio"]]
        panel.errorbar(rows["ratio"], places, xerr=errors, fmt="none", color="black", capsize=3)
        panel.plot(rows["bar"], places, "|", color="black", markersize=16, markeredgewidth=2, label="bar")
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_yticks(places, [f"{row.work}: {row.library}" for row in rows.itertuples()])
        panel.set_xlabel("seconds there over seconds here (logarithmic)")
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower right")
        figure.suptitle(title)
    return figure


def quality_by_time(values: pd.DataFrame, *, title: str) -> Figure:
    """NDCG@10 on validation as models train: a line each, with a marker at every validation.

    Args:
        values: rows of model, seconds, ndcg, in the order of time.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        panel = figure.subplots()
        for model, rows in values.groupby("model", sort=False):
            look = _LOOKS.get(str(model), _OTHER_LOOK).style | {"linestyle": "-"}
            panel.plot(rows["seconds"], rows["ndcg"], label=model, markersize=4, linewidth=1.2, **look)
        _of_seconds(panel, values["seconds"])
        panel.set_ylim(bottom=0)
        panel.set_xlabel("seconds from the start of the fit (logarithmic)")
        panel.set_ylabel("NDCG@10 on validation")
        panel.legend(loc="lower right")
        figure.suptitle(title)
    return figure


def ablation(values: pd.DataFrame, *, title: str) -> Figure:
    """What each part is worth: the change of NDCG@10 without it, a dot a seed, a bar their mean.

    Args:
        values: rows of variant, protocol, panel (its title), seed, change (-0.1: a tenth less than the default's).
    """
    order = list(dict.fromkeys(values["variant"]))
    means = values.groupby(["protocol", "variant"])["change"].mean()
    order.sort(key=lambda name: -means["full"][name])  # the greatest loss at the top
    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.06)
        figure = Figure(figsize=(11, 1.8 + 0.34 * len(order)), layout=layout)
        panels = figure.subplots(1, 2, sharey=True)
        for panel, protocol in zip(panels, ABLATED, strict=True):
            rows = values[values["protocol"] == protocol]
            bars = means[protocol].reindex(order)
            colours = [ORANGE if change < 0 else GREEN for change in bars]
            panel.barh(order, 100 * bars, color=colours, height=0.62, alpha=0.55)
            places = [order.index(name) for name in rows["variant"]]
            panel.plot(100 * rows["change"], places, "o", color="#333333", markersize=3.5)
            panel.axvline(0, color="#333333", linewidth=1)
            lowest, highest = 100 * rows["change"].min(), max(0.0, 100 * rows["change"].max())
            room = 0.16 * (highest - lowest)
            for place, name in enumerate(order):
                own = 100 * rows.loc[rows["variant"] == name, "change"]
                panel.annotate(
                    f"{100 * bars[name]:+.1f} %",
                    (max(0.0, own.max()), place),
                    (7, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=9.5,
                )
            panel.set(title=rows["panel"].iloc[0], xlabel="change of NDCG@10 on validation, %")
            panel.set_xlim(lowest - 0.04 * (highest - lowest), highest + room)
            panel.grid(visible=False, axis="y")
        figure.suptitle(title)
    return figure


def scale(values: pd.DataFrame, *, title: str) -> Figure:
    """How seconds and memory grow with rows and with items, a panel each, all axes logarithmic.

    Args:
        values: rows of panel ("rows" or "items"), size, seconds, gigabytes, ordered by size.
    """
    of_panels = {
        "rows": ("Clean and split", "rows of reviews", "seconds"),
        "items": ("An epoch of HybridVAE", "items", "seconds a million positives"),
    }
    shown = [name for name in of_panels if (values["panel"] == name).any()]
    with mpl.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.08)
        figure = Figure(figsize=(5.2 * len(shown) + 0.6, 4.2), layout=layout)
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for panel, name in zip(panels, shown, strict=True):
            rows = values[values["panel"] == name]
            heading, size, seconds = of_panels[name]
            memory = panel.twinx()
            panel.plot(rows["size"], rows["seconds"], color=BLUE, marker="o", label="seconds")
            memory.plot(
                rows["size"], rows["gigabytes"], color=ORANGE, marker="s", linestyle="--", label="peak memory (right)"
            )
            panel.set(title=heading, xlabel=size, ylabel=seconds, xscale="log", yscale="log")
            memory.set(ylabel="GB, all processes", yscale="log")
            panel.set_xticks(rows["size"], [f"{number:,}" for number in rows["size"]], minor=False)
            panel.xaxis.set_minor_locator(NullLocator())
            for axes, column in ((panel, "seconds"), (memory, "gigabytes")):
                axes.set_ylim(rows[column].min() / 2, rows[column].max() * 2)
                axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
                axes.yaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
            memory.grid(visible=False)
            memory.spines["right"].set_visible(True)
        handles = [*panels[0].lines, *memory.lines]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def users(places: pd.DataFrame, *, shows: str, title: str) -> Figure:
    """Users on a map of their tastes, coloured by how active they are.

    Args:
        places: rows of x, y, activity (number of positives); the axes mean nothing.
        shows: what the map shows, as `users_map` says it.
    """
    shown = places.sort_values("activity", kind="stable")  # the most active, of whom there are few, on top
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, 6.2), layout="constrained")
        panel = figure.subplots()
        size = 60 if len(shown) < 200 else 26 if len(shown) < 2000 else 9
        least, most = shown["activity"].min(), shown["activity"].max()
        if least < most:
            scale = LogNorm(max(1, least), max(2, most))
            dots = panel.scatter(
                shown["x"], shown["y"], c=shown["activity"], cmap="cividis", norm=scale, s=size, linewidth=0
            )
            bar = figure.colorbar(dots, ax=panel, label="positives of the user (logarithmic)", shrink=0.8)
            wide = most >= 10 * least
            bar.ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)) if wide else MaxNLocator(5, integer=True))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
            bar.ax.yaxis.set_minor_locator(NullLocator())
        else:  # nothing to tell apart by colours
            panel.scatter(shown["x"], shown["y"], color=BLUE, s=size, linewidth=0)
            shows += f"\n{least:,} positives each" if len(shown) > 1 else ""
        panel.set(xticks=[], yticks=[], xlabel=shows)
        panel.grid(visible=False)
        for side in ("left", "bottom"):
            panel.spines[side].set_visible(False)
        few = bool((shown[["x", "y"]].abs() < 2).all(axis=None))  # t-SNE goes further
        panel.set_aspect("equal", adjustable="box" if few else "datalim")
        if few:  # users who are equal must not lie at opposite edges of the figure
            panel.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
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
        height = max(3.6, 1.8 + 0.4 * len(grid), 1.6 + 0.42 * len(best))
        layout = ConstrainedLayoutEngine(wspace=0.06)
        figure = Figure(figsize=(5.4 + 0.95 * len(grid.columns) + 4.6, height), layout=layout)
        width = 1.2 + 0.95 * len(grid.columns)
        panel, bars = figure.subplots(1, 2, width_ratios=(width, 3.4))
        image = panel.imshow(grid, cmap="cividis", aspect="auto")
        middle = (image.norm.vmin + image.norm.vmax) / 2
        for row, values in enumerate(grid.to_numpy()):
            for column, value in enumerate(values):
                if not pd.isna(value):  # where the configuration was not run
                    colour = "black" if value > middle else "white"
                    panel.text(column, row, f"{value:.4f}", ha="center", va="center", color=colour, fontsize=9)
        complete = not grid.isna().any(axis=None)
        panel.set(title="All configurations" if complete else "All configurations (white: not tried)")
        panel.set(xlabel=", ".join(across), ylabel=fill(", ".join(down), 34))
        panel.set_xticks(range(len(grid.columns)), grid.columns)
        panel.set_yticks(range(len(grid)), grid.index)
        panel.grid(visible=False)
        labels = best[varied].map(_short).agg(", ".join, axis=1)
        bars.barh(range(len(best)), best["ndcg@10"], color=[GREY] * (len(best) - 1) + [BLUE], height=0.65)
        bars.set_yticks(range(len(best)), labels)
        bars.set_ylabel(fill(", ".join(varied), 34))  # as long as the axis, which may be short
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

    def labels(names: list[str], joint: str) -> "pd.Categorical":
        of_rows = table[names].map(_short).agg(joint.join, axis=1) if names else pd.Series("", index=table.index)
        order = table[names].map(_sortable).sort_values(names).index if names else table.index
        return pd.Categorical(of_rows, categories=of_rows[order].unique())

    cells = pd.DataFrame(
        {"row": labels(down, ", "), "column": labels(across, "\n"), "value": table["ndcg@10"].to_numpy()}
    )
    return cells.pivot_table(index="row", columns="column", values="value", aggfunc="max", observed=True)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sortable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as `name.png` and `name.svg`, without dates."""
    with mpl.rc_context(_STYLE), atomic_path(folder / f"{name}.png") as partial:
        figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})
    write_text(folder / f"{name}.svg", svg(figure))


def svg(figure: Figure) -> str:
    """A figure as SVG; the same figure gives the same text."""
    with mpl.rc_context(_STYLE), StringIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()
