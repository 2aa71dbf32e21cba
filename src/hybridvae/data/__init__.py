"""Where do data come from: sources, raw reviews, cleaning, splits, item text and its vectors."""
