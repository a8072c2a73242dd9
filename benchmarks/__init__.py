"""Side-by-side comparisons: every figure is measured beside a peer in one run, in processes of their own, in turn."""
