"""The demonstration: a lobby with a chat and games of the arena, played by engines on other nodes."""

ROLES = ("engine", "stage")
"""What a node of it may be for."""
