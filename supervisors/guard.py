"""Ends a process whose parent was killed. Its parent cannot, and the process itself need not heed anything.

    parent ──── pipe, never written to ────> guard (a shell)          the program
       x however it went: end of file ─────────> SIGTERM ──────────────> ends in order, or
                                                 SIGKILL, 1.5 s later ─> ends, and its group with it

One small `sh` for each program, in a session of its own: no signal of the terminal, and nothing that is done to the
program's group, reaches it.
"""

import os
import signal
from contextlib import suppress

SCRIPT = """
read -r _
kill -s TERM -- "$1"
tries=15
while [ $tries -gt 0 ] && kill -s 0 -- "$2"; do sleep 0.1; tries=$((tries - 1)); done
kill -s KILL -- "$2"
"""


class Guard:
    """Guards process `pid` from now on, and its process group if it leads one (`group`). OSError: no further process."""

    def __init__(self, pid: int, *, group: bool = True) -> None:
        end, self._pipe = os.pipe()
        try:
            self._pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", SCRIPT, "understudy-guard", str(pid), str(-pid if group else pid)],
                {"PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, end, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(end)

    def dismiss(self) -> None:
        """The process has ended: its number may soon be another's. Call it once."""
        with suppress(ProcessLookupError, ChildProcessError):  # somebody ended the guard, or waits for all children
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._pipe)
