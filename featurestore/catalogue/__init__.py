"""Records of models and datasets, and the files that installed packages bring."""
