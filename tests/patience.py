"""How long tests of real processes wait for what is promised within some seconds.

By hand they hold it to the promise. Where others use the processors, and the disk stalls, that would say nothing about us: there
UNDERSTUDY_PATIENCE=3 lets everything take three times as long (`.ci/run`). The proofs never ask for patience.
"""

import os

PATIENCE = float(os.environ.get("UNDERSTUDY_PATIENCE", "1"))
