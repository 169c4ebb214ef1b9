"""Import results that were made elsewhere."""
