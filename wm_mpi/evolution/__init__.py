"""The search for C: strategy, state of a run, champion, scores."""
