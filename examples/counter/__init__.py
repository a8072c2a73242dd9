"""One actor and its supervisor: a counter that comes back after a crash."""
