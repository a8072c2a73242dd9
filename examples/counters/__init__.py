"""Counters by name that move when a node is killed, and lose nothing."""
