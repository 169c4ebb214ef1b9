"""Shards: images through networks into the store."""
