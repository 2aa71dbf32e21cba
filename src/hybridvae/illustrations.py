"""The figures of the documents, drawn from committed results: file name -> SVG."""

from collections.abc import Mapping
from typing import Any

from hybridvae.frames import ablation_frame, comparison_frame, cost_frame, slices_frame, tuning_frame
from hybridvae.names import title_of

Report = Mapping[str, Any]


def benchmark_figures(name: str, report: Report, tried: Report | None) -> dict[str, str]:
    """Comparison, slices and cost of a benchmark, and the configurations of HybridVAE that it tried.

    Args:
        name: of the report, e.g. "beauty-cold_items".
        tried: what `docs/benchmarks/tuning/<dataset>.json` holds, for reports that chose configurations.
    """
    from hybridvae import figures

    models = report["models"]
    drawn = {"comparison": figures.comparison(comparison_frame(models), title=f"Models on {name}, test part")}
    if any("slices" in of_model for of_model in models.values()):
        title = f"Who and what is served well on {name}, test part"
        drawn["slices"] = figures.slices(slices_frame(models), title=title)
    on_cpu = {
        model: of_model["train_seconds"] for model, of_model in models.items() if of_model.get("device", "cpu") == "cpu"
    }
    cost = cost_frame(models, on_cpu)
    if len(cost) > 2:
        untimed = ", ".join(title_of(model) for model in models if on_cpu.get(model) is None)
        said = f"the final fit, on {threads_of(report)} of a CPU" + (f"; not timed there: {untimed}" if untimed else "")
        drawn["cost"] = figures.cost(cost, title=f"What quality costs on {name}", subtitle=said)
    if tried is not None and len(tried["models"].get("hybridvae", [])) > 1:
        title = f"Hyperparameters of HybridVAE on {name}, validation part"
        drawn["tuning"] = figures.tuning(tuning_frame(tried["models"]["hybridvae"]), title=title)
    return {f"{name}-{kind}.svg": figures.svg(figure) for kind, figure in drawn.items()}


def threads_of(report: Report) -> str:
    """On how many threads the models of a benchmark were fitted, in words."""
    return f"{report['threads']} thread{'s' if report['threads'] > 1 else ''}"


def ablation_figures(report: Report) -> dict[str, str]:
    """What each part of HybridVAE is worth on a data set."""
    from hybridvae import figures

    title = f"HybridVAE with one thing changed, {report['dataset']}"
    figure = figures.ablation(ablation_frame(report["variants"]), title=title)
    return {f"{report['dataset']}-ablation.svg": figures.svg(figure)}
