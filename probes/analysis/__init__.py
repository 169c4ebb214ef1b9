"""What stored features themselves say."""
