"""The kinds of work, one per file. This folder is their registry, and `cluster.work.contract` their contract."""
