"""The figures of the paper, drawn from a store.

`catalogue` knows them by their number; `figure` knows in which files and sizes a journal wants them.
"""
