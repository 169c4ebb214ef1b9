"""The commands of `probestore`, one per file. Each file has a `command`, whose name is the file's name."""
