"""SQL over a store: questions, the database, answers and their formats."""
