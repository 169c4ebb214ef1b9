"""Files -> pixels: sources, splits, limits, decoding, preprocessing."""
