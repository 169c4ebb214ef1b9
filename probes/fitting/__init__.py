"""What every method shares: its task, its choice of a hyper-parameter, what it returns."""
