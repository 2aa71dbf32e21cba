"""Pieces of Markdown, and of text for a terminal: tables, sections between markers, the comparison of the models."""

from typing import Any

from hybridvae.errors import UnreadableFileError
from hybridvae.evaluation.comparison import metrics_table
from hybridvae.evaluation.protocols import shared_protocols


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def bold(text: str, yes: bool) -> str:
    """A cell that is bold where it is the best."""
    return f"**{text}**" if yes else text


def with_section(text: str, name: str, content: str) -> str:
    """`text` with `content` between the markers of the section `name`.

    Raises:
        UnreadableFileError: the markers are not there.
    """
    begin, end = f"<!-- {name}: begin (written by `make docs`) -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise UnreadableFileError(f"the README has no place for {name}: add the lines {begin} and {end}.")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{content}\n{end}{rest.partition(end)[2]}"


def plain_report(metrics: dict[str, dict[str, Any]], tests: dict[str, dict[str, dict[str, float]]]) -> str:
    """The comparison for a terminal: the table of means, then one line a test."""
    lines = [metrics_table(metrics).to_string(float_format="{:.4f}".format)]
    for protocol, of_protocol in tests.items():
        for model, test in of_protocol.items():
            lines.append(
                f"HybridVAE against {model}, {protocol} NDCG@10: {test['relative']:+.1%}, "
                f"d = {test['effect_size']:.2f}, p = {test['p_holm']:.4f} after Holm"
            )
    return "\n".join(lines)


def comparison_table(
    metrics: dict[str, dict[str, Any]],
    tests: dict[str, dict[str, dict[str, float]]],
    titles: dict[str, str] | None = None,
) -> str:
    """The comparison as a Markdown table: means, intervals, Holm-corrected p."""
    protocols = shared_protocols(metrics.values())
    head = ["model"]
    for protocol in protocols:
        head += [f"{protocol} NDCG@10 (95 % interval)", f"{protocol} Recall@10"]
    head += [f"p, {protocol}" for protocol in protocols] + ["coverage"]
    rows = []
    for model in metrics_table(metrics).index:
        cells = [(titles or {}).get(model, model)]
        for protocol in protocols:
            value = metrics[model][protocol]["ndcg@10"]
            cells.append(f"{value['mean']:.4f} ({value['low']:.4f}-{value['high']:.4f})")
            cells.append(f"{metrics[model][protocol]['recall@10']['mean']:.4f}")
        for protocol in protocols:
            test = tests.get(protocol, {}).get(model)
            cells.append(f"{test['p_holm']:.4f}" if test else "-")
        cells.append(f"{metrics[model]['full']['coverage@10']:.2f}")
        rows.append(cells)
    return table(head, rows)
