"""Episodes played by a rank, and what it can do."""
