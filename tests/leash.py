"""A leash: what a test starts ends with the process of the tests, however that ends: by SIGKILL, too, when nobody clears away.

    subprocess.Popen(leashed("understudy", "node", "stage-1"))

The kernel lets go when the thread ends by which it was started, so that one has to last as long. Where there is no `setpriv` (it
is part of util-linux), there is no leash.
"""

import shutil
from pathlib import Path

_SETPRIV = shutil.which("setpriv")


def leashed(*command: str | Path, by: str = "KILL", user: str = "") -> list[str]:
    """The command that becomes this one, on a leash: `by` that signal. `user`: with the rights of that one alone, which takes root."""
    words = [str(word) for word in command]
    if _SETPRIV is None:
        return words
    rights = ["--reuid", user, "--regid", "nogroup", "--clear-groups"] if user else []
    return [_SETPRIV, *rights, "--pdeathsig", by, *words]
