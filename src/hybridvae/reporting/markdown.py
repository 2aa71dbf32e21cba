"""Pieces of Markdown, and of text for a terminal: tables, sections between markers, the comparison of the models."""

from collections.abc import Iterable, Mapping
from typing import Any

from hybridvae.errors import UnreadableFileError
from hybridvae.evaluation.comparison import Pairs, metrics_table
from hybridvae.evaluation.protocols import READING_ORDER, ProtocolName, shared_protocols, titles
from hybridvae.reporting.model_titles import title_of

PAIRS_SAID = (
    "A pair is two models of one family: one learns from interactions alone, the other also reads the text of items. "
    "The gain is how far NDCG@10 with text is above that without, with a 95 % bootstrap interval over users. p is of a "
    "paired permutation test over users, after Holm's correction over the families: a small p means that the "
    "gain is unlikely to be chance."
)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def bold(text: str, yes: bool) -> str:
    """A cell that is bold where it is the best."""
    return f"**{text}**" if yes else text


def with_sections(page: str, sections: Mapping[str, str], *, folder: str = "") -> str:
    """A page with the content of those sections that it has a place for: two marker lines, `marker(name)`.

    Args:
        page: its text.
        sections: name -> content, whose links start at the repository.
        folder: in which the page lies, e.g. "docs/"; what is linked in it is linked from there.

    Raises:
        UnreadableFileError: a place has a beginning and no end.
    """
    for name, content in sections.items():
        begin, end = marker(name)
        if begin in page:
            before, _, rest = page.partition(begin)
            if end not in rest:
                raise UnreadableFileError(f"the section {name} has no end: add the line {end}")
            linked = content.replace(f"]({folder}", "](") if folder else content
            inside = f"\n\n{linked}\n" if linked else "\n"
            page = f"{before}{begin}{inside}{end}{rest.partition(end)[2]}"
    return page


def marker(name: str) -> tuple[str, str]:
    """The lines before and after a section that `make docs` writes."""
    return f"<!-- {name}: begin (written by `make docs`) -->", f"<!-- {name}: end -->"


LEGEND = "Intervals: 95 %, over users. p: paired permutation test after Holm; of models, against HybridVAE."


def plain_report(
    metrics: dict[str, dict[str, Any]],
    tests: dict[str, dict[str, dict[str, float]]],
    pairs: Pairs,
    refused: Mapping[str, str],
) -> str:
    """The comparison for a terminal: the pairs, if there are any, then all models; the full ranking comes first.

    It is at most 100 columns wide, unless a model has a name of more than 20 letters.

    Args:
        refused: models that were not fitted, and why.
    """
    judged = next(iter(metrics.values()))
    parts = []
    for protocol in paired_protocols([pairs]):
        rows = [_plain_pair(family, pair) for family, pair in pairs[protocol].items()]
        head = ["family", "without text", "with text", "gain (95 % interval)", "p"]
        parts.append(f"Does text pay? NDCG@10, {titles(protocol, judged).sentence}\n\n{aligned(head, rows)}")
    protocols = _shared_in_reading_order(metrics)
    # Three rankings, as of a split by items, do not fit beside each other.
    for together in [protocols] if len(protocols) <= 2 else [[protocol] for protocol in protocols]:
        rows = [[title_of(model), *_cells(model, metrics, tests, together)] for model in metrics_table(metrics).index]
        head = ["\nmodel"]
        for protocol in together:
            head += [f"{titles(protocol, judged).column}\nNDCG@10 and interval", "Recall\n@10", "\np"]
        parts.append(f"All models\n\n{aligned(head, rows)}")
    return "\n\n".join([*parts, LEGEND, *not_fitted(refused)])


def not_fitted(refused: Mapping[str, str]) -> list[str]:
    """A paragraph on models that were not fitted, if there are any."""
    return [f"Not fitted: {'; '.join(refused.values())}"] if refused else []


def aligned(head: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal: the first column to the left and the others to the right, two spaces between them.

    Args:
        head: each may have several lines, of all the same number.
    """
    heads = [list(line) for line in zip(*(cell.split("\n") for cell in head), strict=True)]
    widths = [max(map(len, column)) for column in zip(*heads, *rows, strict=True)]
    lines = []
    for first, *others in [*heads, ["-" * width for width in widths], *rows]:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    return "\n".join(lines)


def _plain_pair(family: str, pair: Mapping[str, Any]) -> list[str]:
    models = [f"{title_of(pair[side]['model'])} {pair[side]['mean']:.4f}" for side in ("without", "with_text")]
    return [family, *models, gain_of(pair), f"{pair['p_holm']:.4f}"]


def pairs_table(pairs: Pairs, judged: Mapping[str, Any]) -> str:
    """The models without text beside those with it, a row a family.

    Args:
        pairs: as `compare_pairs` returns them, not empty.
        judged: what `titles` takes: the results of any of the models.
    """
    protocols = paired_protocols([pairs])
    return table(["family", *pairs_head(protocols, [judged])], pairs_rows(pairs, protocols))


def paired_protocols(several: Iterable[Pairs]) -> list[ProtocolName]:
    """The protocols of any of these pairs, as people read them."""
    several = list(several)
    return [protocol for protocol in READING_ORDER if any(protocol in pairs for pairs in several)]


def pairs_head(protocols: Iterable[ProtocolName], judged: Iterable[Mapping[str, Any]]) -> list[str]:
    """The heads of the columns of `pairs_rows`, but for the first, which is the family.

    Args:
        judged: the results of a model of each data set; where their numbers of negatives differ none is named.
    """
    judged = list(judged)
    head = ["without text", "with text"]
    for word in (shared_column(protocol, judged) for protocol in protocols):
        head += [f"NDCG@10, {word}", f"gain, {word} (95 % interval)", f"p, {word}"]
    return head


def shared_column(protocol: ProtocolName, judged: Iterable[Mapping[str, Any]]) -> str:
    """The word for a protocol above a column of several data sets; without a number of negatives where it differs.

    Args:
        judged: the results of a model of each data set.
    """
    words = {titles(protocol, one).column for one in judged}
    return words.pop() if len(words) == 1 else titles(protocol, {}).column


def pairs_rows(pairs: Pairs, protocols: Iterable[ProtocolName]) -> list[list[str]]:
    """Of each family its name, the titles of its two models, and by each protocol both means, the gain and p."""
    protocols = list(protocols)
    rows = []
    for family, any_pair in next(iter(pairs.values())).items():
        row = [family, *(title_of(any_pair[model]["model"]) for model in ("without", "with_text"))]
        for protocol in protocols:
            if pair := pairs.get(protocol, {}).get(family):
                row += [_means(pair), gain_of(pair), f"{pair['p_holm']:.4f}"]
            else:
                row += ["-"] * 3
        rows.append(row)
    return rows


def gain_of(pair: Mapping[str, Any]) -> str:
    """The gain of a pair with its interval, e.g. "+4.9% (+1.0% to +8.9%)"; "-" where there was nothing without text."""
    if pair["relative"] is None:
        return "-"
    low, high = ("no bound" if pair[bound] is None else f"{pair[bound]:+.1%}" for bound in ("low", "high"))
    return f"{pair['relative']:+.1%} ({low} to {high})"


def answer_rows(pairs: Pairs, protocols: Iterable[ProtocolName]) -> list[list[str]]:
    """A row a family, short: its two models, and by each protocol both means, the gain and p."""
    protocols = list(protocols)
    rows = []
    for family, any_pair in next(iter(pairs.values())).items():
        without, with_text = (title_of(any_pair[model]["model"]) for model in ("without", "with_text"))
        row = [f"{family}: {without} → {with_text}"]
        for protocol in protocols:
            pair = pairs.get(protocol, {}).get(family)
            row.append(f"{_means(pair)}, {gain_with_p(pair)}" if pair else "-")
        rows.append(row)
    return rows


def gain_with_p(pair: Mapping[str, Any]) -> str:
    """The gain of a pair and its p, e.g. "+4.9% (p = .16)"; "-" where there was nothing without text."""
    if pair["relative"] is None:
        return "-"
    p = pair["p_holm"]
    digits = 3 if p < 0.1 else 2
    said = "p < .001" if p < 0.001 else f"p = {p:.{digits}f}".replace("0.", ".")
    return f"{pair['relative']:+.1%} ({said})"


def _means(pair: Mapping[str, Any]) -> str:
    return f"{pair['without']['mean']:.4f} → {pair['with_text']['mean']:.4f}"


def comparison_table(metrics: dict[str, dict[str, Any]], tests: dict[str, dict[str, dict[str, float]]]) -> str:
    """The comparison as a Markdown table: by each protocol mean, interval, recall and Holm-corrected p; coverage."""
    protocols = _shared_in_reading_order(metrics)
    judged = next(iter(metrics.values()))
    head = ["model"]
    for word in (titles(protocol, judged).column for protocol in protocols):
        head += [f"NDCG@10, {word} (95 % interval)", f"Recall@10, {word}", f"p, {word}"]
    rows = [
        [title_of(model), *_cells(model, metrics, tests, protocols), f"{metrics[model]['full']['coverage@10']:.2f}"]
        for model in metrics_table(metrics).index.astype(str)
    ]
    return table([*head, "coverage"], rows)


def _shared_in_reading_order(metrics: Mapping[str, Mapping[str, Any]]) -> list[ProtocolName]:
    shared = shared_protocols(metrics.values())
    return [protocol for protocol in READING_ORDER if protocol in shared]


def _cells(
    model: str,
    metrics: Mapping[str, Mapping[str, Any]],
    tests: Mapping[str, Mapping[str, Mapping[str, float]]],
    protocols: Iterable[ProtocolName],
) -> list[str]:
    """Of a model, by each protocol: NDCG@10 with its interval, Recall@10, and p of HybridVAE against it."""
    cells = []
    for protocol in protocols:
        figures, test = metrics[model][protocol], tests.get(protocol, {}).get(model)
        value = figures["ndcg@10"]
        cells.append(f"{value['mean']:.4f} ({value['low']:.4f}-{value['high']:.4f})")
        cells += [f"{figures['recall@10']['mean']:.4f}", f"{test['p_holm']:.4f}" if test else "-"]
    return cells


def threads_in_words(*counts: int) -> str:
    """On how many threads something ran, each number once: "2 threads", "1 or 2 threads"."""
    numbers = sorted(set(counts))
    return f"{' or '.join(map(str, numbers))} thread{'s' if numbers[-1] > 1 else ''}"
