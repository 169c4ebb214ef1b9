"""study.toml -> frozen records."""
