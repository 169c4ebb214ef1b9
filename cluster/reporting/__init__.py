"""What happens in a run: events, the state of a stage, what a person sees, the table `progress`."""
