"""V and M frozen: the graph that ranks run, the policy, M's dream, and what looks inside."""
