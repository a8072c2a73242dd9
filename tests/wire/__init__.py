"""The wire from the outside: nodes in processes of their own, and all that may happen to them and between them.

    cast(...) ── starts ──▶ Player "a" ══ links ══ Player "b"        each a process: tests/wire/player.py
       │                       │                      │
       └── ask("stream", …)    account of a stream    its Book, on shared memory: outlives a kill -9
                               └────────── balance ───┘             sent = delivered + dead-lettered, the unknown counted apart

One module for each proof (`cuts`, `deaths`, `slow`, `namespaces`, `strangers`), which plays it as long as it is told to:
for seconds in `test_*.py`, at length in `tests/wire_proof.py` (`make proof wire`).
"""
