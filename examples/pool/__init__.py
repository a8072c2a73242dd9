"""A pool of workers behind one reference, one of which crashes."""
