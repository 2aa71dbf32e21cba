"""How models are called where people read of them."""

TITLES = {
    "popularity": "Popularity",
    "content": "Content-KNN",
    "itemknn": "Item-KNN",
    "svd": "SVD",
    "ease": "EASE",
    "ease_text": "EASE with text",
    "ials": "iALS",
    "multvae": "Mult-VAE",
    "sasrec": "SASRec",
    "sasrec_text": "SASRec with text",
    "lightgcn": "LightGCN",
    "alpharec": "AlphaRec",
    "hybridvae": "HybridVAE",
}


def title_of(model: str) -> str:
    """The title of a model; a new one is called as in params.yaml."""
    return TITLES.get(model, model)
