"""The figures of the paper, from a store: `catalogue` knows them by number, and `drawing` how a journal wants them."""
