"""Checks of what is stored, and of what nobody needs any more."""
