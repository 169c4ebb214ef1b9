"""What is wanted, what is there, what is missing."""
