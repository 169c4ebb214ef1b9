"""The kinds of work: a file each, and this folder is their registry. See `cluster.work.contract`."""
