"""The commands of `probestore`, one per file: each has a `command`, and the file's name is its name."""
