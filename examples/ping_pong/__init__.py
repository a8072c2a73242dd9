"""Two nodes in two processes: an actor elsewhere is told like one next door."""
