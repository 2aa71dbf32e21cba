"""embed: the words of each item -> one Sentence-BERT vector an item."""

from stage import DATASET, PARAMS, block, cache, data, metrics, run

from hybridvae.data.embedding import EmbedConfig, embed_texts, without_meaning
from hybridvae.data.engine import EngineConfig
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.device import choose_device
from hybridvae.files import write_arrays, write_metrics


def main() -> str:
    config = block("embed", EmbedConfig)
    text, engine = block("text", TextConfig), block("engine", EngineConfig)
    texts = gather_item_texts(data("clean"), data("split", "fit"), text, engine)
    device = str(choose_device(PARAMS["device"]))
    vectors = embed_texts(texts, config, cache=cache(), device=device, engine=engine)
    vectors = without_meaning(vectors, config, seed=PARAMS["split"]["seed"])
    write_arrays(data("embed") / "items.safetensors", {"vectors": vectors})
    without = sum(not text for text in texts)
    report = {"dataset": DATASET, "model": config.model, "items": len(texts), "items_without_text": without}
    report |= {"distinct_texts": len(set(texts)), "mean_characters": sum(map(len, texts)) / len(texts)}
    write_metrics(metrics("embed.json"), {**report, "dimensions": vectors.shape[1]})
    return f"{len(texts)} items ({without} without text) as vectors of {vectors.shape[1]} numbers"


run(main, wrote=[data("embed"), metrics("embed.json")])
