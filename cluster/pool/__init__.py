"""Pools of workers, which run units of work: on Ray or in this process."""
