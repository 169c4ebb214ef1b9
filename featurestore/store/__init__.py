"""What a store is made of: names, bytes, tables and the store itself."""
