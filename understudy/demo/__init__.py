"""The demonstration: a lobby with a chat and games of the arena, played by engines on other nodes."""
