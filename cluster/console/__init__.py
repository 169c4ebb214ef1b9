"""Parts that commands share: options, the terminal, listings."""
