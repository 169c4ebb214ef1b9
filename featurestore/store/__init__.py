"""The store and what it is made of: names, bytes and tables."""
