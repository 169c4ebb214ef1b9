"""The module `probestore`, for notebooks and scripts."""
