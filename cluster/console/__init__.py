"""What the commands share: options, the terminal, listings."""
