"""Reports of a run: events, the state of its stages, the live view, the table `progress`."""
