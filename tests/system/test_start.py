"""`understudy start` and `understudy tree` as an operator uses them: real processes, real signals, exit statuses, files saved."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.system.demo import UNDERSTUDY, Terminal, children_of, command_of, is_running, still_running

GONE_WITHIN = 3.0 * PATIENCE
"""Two seconds, as promised, and one for a busy machine to see it."""

ENDS_WITHIN = 15.0 * PATIENCE

SHOP = """
    import os
    from understudy import Actor, Child, Supervisor
    from understudy.supervisors import OsProcess

    def say(*words):
        print(*words, flush=True)

    class Clerk(Actor):
        def on_start(self):
            say("starts", self.name)

        def on_stop(self, reason):
            say("ends", self.name)

        def on_receive(self, message):
            raise KeyError(message)

    class Shop(Supervisor):
        def children(self):
            return [Child(Clerk, name="first"), Child(Clerk, name="second"), Child(Clerk, name="third")]
"""


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of our own: no test sees what else runs here. Short, since a socket's path may not be long."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a user's module `shop`, and room for one more: `write(shop, ...)`."""
    write(tmp_path, SHOP, "shop")
    return tmp_path


def write(folder: Path, text: str, module: str = "app") -> None:
    """Save the user's module, in one step, as editors do; by its time it is as old as any version of it."""
    draft = folder / f"{module}.draft"
    draft.write_text(textwrap.dedent(text))
    os.utime(draft, (1_000_000_000, 1_000_000_000))
    draft.replace(folder / f"{module}.py")


def start(folder: Path, *arguments: str) -> Terminal:
    return Terminal(UNDERSTUDY, "start", *arguments, cwd=folder)


def ready(terminal: Terminal, target: str, after: int = 0) -> int:
    """The process id with which the application said that it is ready."""
    return int(terminal.wait_for(rf"^ready {target} process (\d+)$", after=after).group(1))


def words(terminal: Terminal, first: str) -> list[str]:
    """What follows `first` on the lines that begin with it."""
    return [line.partition(" ")[2] for line in terminal.lines if line.partition(" ")[0] == first]


def tree(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UNDERSTUDY, "tree", *arguments], capture_output=True, text=True, timeout=30, check=False)


def gone(pids: list[int]) -> None:
    """Check that these processes have ended, or do so in time; end what is left."""
    left = {pid: command_of(pid) for pid in still_running(pids, GONE_WITHIN)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


# --- start, readiness, the orderly end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_children_start_in_order_it_is_ready_and_a_signal_ends_them_in_reverse(
    shop: Path, number: signal.Signals
) -> None:
    with start(shop, "shop:Shop") as terminal:
        assert ready(terminal, "shop:Shop") == terminal.process.pid
        assert words(terminal, "starts") == ["first", "second", "third"]
        os.kill(terminal.process.pid, number)
        assert terminal.exit_status(ENDS_WITHIN) == 0
        assert words(terminal, "ends") == ["third", "second", "first"]
        assert f"{number.name}: stopping" in terminal.text


@pytest.mark.parametrize(
    "main",
    [
        "main = [Child(Clerk, name='only')]",
        "def main(): return [Child(Clerk, name='only')]",
        "async def main(): return (Child(Clerk, name='only'),)",
        "class Root(Supervisor):\n    def children(self): return [Child(Clerk, name='only')]\ndef main(): return Root",
        "class Call:\n    def __call__(self): return [Child(Clerk, name='only')]\nmain = Call()",
    ],
)
def test_a_root_is_a_class_a_list_or_a_function_that_returns_either(shop: Path, main: str) -> None:
    write(shop, f"from shop import *\n{main}\n")
    with start(shop, "app:main") as terminal:
        ready(terminal, "app:main")
        assert words(terminal, "starts") == ["only"]
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 0


def test_the_example_in_the_documentation_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "applications.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    write(tmp_path, example, "shop")
    with start(tmp_path, "shop:Shop") as terminal:
        ready(terminal, "shop:Shop")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.exit_status(ENDS_WITHIN) == 0
        assert re.search(r"^\S+ shop       SIGINT: stopping, within 25.0 s$", terminal.text, re.MULTILINE)


def test_a_service_manager_is_told_and_what_the_application_starts_is_not_mistaken_for_it(
    shop: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        shop,
        """
        import os
        from shop import *
        class Curious(Actor):
            def on_start(self): say("inherited", os.environ.get("NOTIFY_SOCKET"))
        main = [Child(Curious)]
        """,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(runtime_dir / "notify"))
        manager.settimeout(ENDS_WITHIN)
        monkeypatch.setenv("NOTIFY_SOCKET", str(runtime_dir / "notify"))
        with start(shop, "app:main") as terminal:
            assert manager.recv(100) == b"READY=1"
            ready(terminal, "app:main")
            assert words(terminal, "inherited") == ["None"]
            terminal.process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
            assert terminal.exit_status(ENDS_WITHIN) == 0


def test_a_signal_before_everything_has_started_ends_what_has(shop: Path) -> None:
    write(
        shop,
        """
        import asyncio
        from shop import *
        class Slow(Actor):
            async def on_start(self):
                say("waits")
                await asyncio.Event().wait()
        main = [Child(Clerk, name="first"), Child(Slow)]
        """,
    )
    with start(shop, "app:main") as terminal:
        terminal.wait_for("^waits")
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 0
        assert words(terminal, "ends") == ["first"]
        assert "ready" not in terminal.text


def test_a_log_that_the_application_configures_is_left_alone(shop: Path) -> None:
    write(
        shop,
        """
        import logging
        from shop import *
        logging.basicConfig(level=logging.INFO, format="mine %(name)s %(message)s")
        main = Shop
        """,
    )
    with start(shop, "app:main") as terminal:
        ready(terminal, "app:main")
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 0
        assert "understudy.app SIGTERM: stopping, within 25.0 s" in words(terminal, "mine")


# --- exit statuses that say why ---

BROKEN = """
    from shop import *

    class Poor(Actor):
        def on_start(self): raise ValueError("no money")

    class Twins(Supervisor):
        def children(self): return [Child(Clerk), Child(Clerk)]

    class Crasher(Clerk):
        def on_start(self): self.send_after(0.0, "boom")

    def fails(): raise RuntimeError("no settings")

    def exits(): raise SystemExit(3)

    class Sour(Supervisor):
        async def on_start(self): int("no number")

    class Needy(Supervisor):
        def __init__(self, tills): super().__init__()

    class Done(Actor):
        def on_start(self): self.stop()

    class Finite(Supervisor):
        auto_shutdown = "any_significant"
        def children(self): return [Child(Clerk, name="clerk"), Child(Done, restart="transient", significant=True)]

    nothing, number, poor, crasher = [], 5, [Child(Clerk, name="clerk"), Child(Poor)], [Child(Crasher, name="crasher")]
    made = [Shop, Child(Clerk)]
"""


@pytest.mark.parametrize(
    ("target", "status", "last"),
    [
        ("app", 2, r"'app' is not MODULE:ATTRIBUTE, such as shop:main"),
        ("app.py:main", 2, r"'app.py:main' is not MODULE:ATTRIBUTE"),
        ("absent:main", 3, r"^Error: there is no module 'absent' in /\S+ or on sys.path$"),
        ("shop.absent:main", 3, r"^Error: there is no module 'shop.absent' in"),
        ("app:fail", 3, r"^Error: app has no 'fail'; did you mean 'fails'\?$"),
        ("app:Poor", 4, r"^Error: app:Poor is the class Poor, which is no Supervisor; `understudy start` takes a Supervisor"),
        ("app:nothing", 4, r"^Error: app:nothing is a list of no children;"),
        ("app:number", 4, r"^Error: app:number is 5;"),
        ("app:made", 4, r"^Error: app:made is a list with <class 'shop.Shop'> in it;"),
        ("app:fails", 4, r"^Error: app:fails\(\) failed: RuntimeError: no settings$"),
        ("app:exits", 4, r"^Error: app:exits\(\) failed: SystemExit: 3$"),
        ("app:Needy", 4, r"^Error: app:Needy takes arguments, .*: name a function that returns \[Child\(Needy"),
        ("app:Sour", 5, r"^Error: app:Sour: <Sour at app:1> did not start: ValueError: invalid literal"),
        ("app:Twins", 4, r"^Error: app:Twins: .*two children .*'Clerk'"),
        ("app:poor", 5, r"^Error: app:poor: <Poor at app:\d+> did not start: ValueError: no money \(at \S+app.py:5 in Poor"),
        ("app:crasher", 6, r"^Error: app:crasher ended: shutdown: too many restarts, the last one of 'crasher': KeyError: 'boom'"),
        ("app:Finite", 0, r"app:Finite has finished: shutdown: auto"),
    ],
)  # fmt: skip
def test_the_exit_status_and_the_last_line_say_why(shop: Path, target: str, status: int, last: str) -> None:
    write(shop, BROKEN)
    with start(shop, target) as terminal:
        assert terminal.exit_status(ENDS_WITHIN) == status
        assert re.search(last, terminal.lines[-1]), terminal.text
        if target == "app:poor":
            assert words(terminal, "ends") == ["clerk"], "what had started is ended in order"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f(:\n    pass\n", ["def f(:", "SyntaxError: "]),
        ("import shop\nimport nothing_of_the_kind\n", ["import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"]),
        ("def f():\n    raise ValueError('mine')\nf()\n", ["in <module>", "in f", "ValueError: mine"]),
        ("from understudy import Actor, Child\nmain = [Child(Actor, restart='sometimes')]\n", ["Child(Actor", "not 'sometimes'"]),
    ],
)  # fmt: skip
def test_an_import_that_fails_shows_the_users_own_traceback(shop: Path, text: str, lines: list[str]) -> None:
    write(shop, text)
    with start(shop, "app:main") as terminal:
        assert terminal.exit_status(ENDS_WITHIN) == 3
        for line in lines:
            assert line in terminal.text
        assert terminal.lines[-1].startswith("Error: importing app failed: ")
        assert "understudy/application.py" not in terminal.text
        assert "importlib" not in terminal.text


# --- an end that is not orderly ---

STUBBORN = """
    import asyncio, signal, threading, time
    from shop import *

    class Hanging(Actor):
        stop_timeout = None
        async def on_stop(self, reason):
            say("hangs")
            await asyncio.Event().wait()

    class Blocking(Actor):
        def on_start(self): self.send_after(0.0, "go")
        def on_receive(self, message):
            say("blocks")
            requests = signal.getsignal(signal.SIGTERM).__self__
            while not requests._signalled:
                time.sleep(0.01)
            say("was told")
            while True:
                time.sleep(0.01)

    class Threading(Actor):
        def on_start(self):
            threading.Thread(target=threading.Event().wait, name="endless").start()

    sleeper = Child(OsProcess, id="sleeper", args=(["sleep", "600"],))
    hanging = [sleeper, Child(Hanging, name="hanging", shutdown="infinity"), Child(Clerk, name="clerk")]
    blocking = [sleeper, Child(Blocking, name="blocking")]
    threads = [Child(Threading)]
"""


def test_what_does_not_end_in_time_is_killed_and_named(shop: Path) -> None:
    write(shop, STUBBORN)
    with start(shop, "app:hanging", "--shutdown-timeout", "0.2") as terminal:
        ready(terminal, "app:hanging")
        below = children_of(terminal.process.pid)
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 7
        assert words(terminal, "ends") == ["clerk"]
        terminal.wait_for(r"^Error: <Hanging 'hanging' at app:\d+> did not end within 0.2 s: killed$")
        gone(below)


@pytest.mark.parametrize(
    ("target", "named"), [("app:blocking", "<Blocking 'blocking' at"), ("app:threads", "thread endless")]
)
def test_the_process_ends_though_a_handler_holds_its_loop_or_a_thread_is_left(
    shop: Path, target: str, named: str
) -> None:
    write(shop, STUBBORN)
    with start(shop, target, "--shutdown-timeout", "0") as terminal:
        terminal.wait_for("^blocks" if target == "app:blocking" else "^ready")
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 7
        assert named in terminal.lines[-1]
        assert "ended with the process" in terminal.lines[-1]


@pytest.mark.parametrize(
    ("target", "first", "busy"), [("hanging", "^ready", "^hangs"), ("blocking", "^blocks", "^was told")]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once_and_its_processes_with_it(
    shop: Path, target: str, first: str, busy: str, number: signal.Signals
) -> None:
    write(shop, STUBBORN)
    with start(shop, f"app:{target}") as terminal:
        terminal.wait_for(first)
        below = children_of(terminal.process.pid)
        assert below
        terminal.process.terminate()
        terminal.wait_for(busy)
        os.kill(terminal.process.pid, number)
        assert terminal.exit_status(GONE_WITHIN) == 128 + number
        assert terminal.lines[-1] == f"Error: {number.name}, the second signal: ended at once"
        gone(below)


FULL = """
    import sys
    from shop import *

    class Filler(Actor):
        def on_start(self):
            os.set_blocking(2, False)
            for much in (1 << 20, 1):  # at once: a warning that this takes long would find no reader, before the test is there
                try:
                    while True:
                        os.write(2, b"x" * much)
                except BlockingIOError:
                    pass
            os.set_blocking(2, True)

    full = [Child(Filler)]

    class Last(Actor):
        def on_stop(self, reason):
            say("to nobody")
            print("ended in order", file=sys.stderr)

    last = [Child(Last)]
"""


@pytest.mark.parametrize(("signals", "status"), [(1, 7), (2, 143)])
def test_it_ends_though_nobody_reads_what_it_says_on_standard_error(shop: Path, signals: int, status: int) -> None:
    write(shop, FULL)
    arguments = [str(UNDERSTUDY), "start", "app:full", "--shutdown-timeout", "0" if signals == 1 else "60"]
    with subprocess.Popen(arguments, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], ENDS_WITHIN)[0], "it does not say that it is ready"
            assert process.stdout.readline().startswith(b"ready app:full")
            process.terminate()
            while signals == 2 and process.poll() is None:  # two that come together are one
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            assert process.wait(ENDS_WITHIN) == status
        finally:
            process.kill()


def test_it_runs_and_ends_in_order_though_nobody_reads_its_standard_output(shop: Path) -> None:
    write(shop, FULL)
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [str(UNDERSTUDY), "start", "app:last"]
    with subprocess.Popen(arguments, cwd=shop, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        try:
            assert process.stderr is not None
            assert "standard output has no reader" in process.stderr.readline()
            process.terminate()
            assert "ended in order" in process.stderr.read()
            assert process.wait(ENDS_WITHIN) == 0
        finally:
            process.kill()


def test_an_error_that_nobody_foresaw_ends_the_tree_in_order(shop: Path) -> None:
    write(
        shop,
        """
        from understudy import application
        from shop import *
        def fails(line): raise RuntimeError("unforeseen")
        application.say = fails
        """,
    )
    with start(shop, "app:Shop") as terminal:
        assert terminal.exit_status(ENDS_WITHIN) == 1
        assert words(terminal, "ends") == ["third", "second", "first"]
        assert terminal.lines[-1] == "RuntimeError: unforeseen"


def test_standard_streams_that_are_closed_are_read_and_written_by_nobody(shop: Path) -> None:
    write(
        shop,
        """
        from shop import *
        class Curious(Actor):
            def on_start(self): say("streams", *(os.readlink(f"/proc/self/fd/{number}") for number in (0, 2)))
        main = [Child(Curious)]
        """,
    )
    with Terminal("sh", "-c", f"exec {UNDERSTUDY} start app:main <&- 2>&-", cwd=shop) as terminal:
        ready(terminal, "app:main")
        assert words(terminal, "streams") == ["/dev/null /dev/null"]
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 0


# --- processes of its own ---

PROCESSES = """
    from shop import *

    DEAF = "trap '' TERM; sleep 600 & echo ready $!; wait"
    main = [
        Child(OsProcess, id="sleeper", args=(["sleep", "600"],)),
        Child(OsProcess, id="deaf", args=(["sh", "-c", DEAF],), kwargs={"ready": "ready", "grace": 0.2}),
    ]
"""


def test_a_process_that_ignores_sigterm_is_killed_after_its_time_and_its_children_with_it(shop: Path) -> None:
    write(shop, PROCESSES)
    with start(shop, "app:main") as terminal:
        ready(terminal, "app:main")
        below = children_of(terminal.process.pid)
        assert len(below) == 5
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 0
        terminal.wait_for(r"process \d+ ignored SIGTERM for 0.2 s: killed")
        gone(below)


def test_nothing_outlives_an_application_that_is_killed(shop: Path) -> None:
    write(shop, PROCESSES)
    with start(shop, "app:main") as terminal:
        ready(terminal, "app:main")
        below = children_of(terminal.process.pid)
        assert len(below) == 5, (
            "two, a child of one's own, and two guards; none of the three heeds stdin, two no SIGTERM"
        )
        terminal.process.kill()
        gone(below)


# --- reload on save ---

VERSION = """
    from shop import *

    class Version(Clerk):
        def on_start(self): say("version {number}")

    main = [Child(Version, name="version"), Child(OsProcess, id="sleeper", args=(["sleep", "600"],))]
"""


def test_a_save_ends_the_application_in_order_and_starts_what_was_saved(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    write(shop, VERSION.format(number=1))
    with start(shop, "app:main", "--reload") as terminal:
        first = ready(terminal, "app:main")
        for number in (2, 3):
            seen = len(terminal.lines)
            before = children_of(terminal.process.pid)
            write(shop, VERSION.format(number=number))
            again = ready(terminal, "app:main", seen)
            assert again != first
            assert terminal.lines.index("ends version", seen) < terminal.lines.index(f"version {number}", seen)
            gone(before)
        below = children_of(terminal.process.pid)
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 0
        gone(below)


def test_a_syntax_error_or_a_crash_is_shown_and_the_next_save_starts_it_again(shop: Path) -> None:
    write(shop, VERSION.format(number=1))
    with start(shop, "app:main", "--reload") as terminal:
        ready(terminal, "app:main")
        for text, said, status in (("def f(:\n", "^SyntaxError", 3), ("main = 5\n", "^Error: app:main is 5;", 4)):
            seen = len(terminal.lines)
            write(shop, text)
            terminal.wait_for(said, after=seen)
            terminal.wait_for(rf"ended with status {status}; waiting for a file to be saved", after=seen)
        seen = len(terminal.lines)
        write(shop, VERSION.format(number=2))
        ready(terminal, "app:main", seen)
        assert "version 2" in terminal.lines[seen:]


def test_a_signal_while_it_is_imported_is_an_exit_status_as_a_shell_says_it(shop: Path) -> None:
    write(shop, "from shop import say\nimport threading\nsay('imports')\nthreading.Event().wait()\n")
    with start(shop, "app:main", "--reload") as terminal:
        terminal.wait_for("^imports")
        terminal.process.terminate()
        assert terminal.exit_status(ENDS_WITHIN) == 128 + signal.SIGTERM


def test_ctrl_c_in_the_terminal_reaches_the_whole_group_and_ends_it_in_order_once(shop: Path) -> None:
    write(shop, VERSION.format(number=1))
    with start(shop, "app:main", "--reload") as terminal:
        ready(terminal, "app:main")
        below = children_of(terminal.process.pid)
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.exit_status(ENDS_WITHIN) == 0
        assert words(terminal, "ends") == ["version"]
        gone(below)


def test_nothing_outlives_a_reloader_that_is_killed(shop: Path) -> None:
    write(shop, VERSION.format(number=1))
    with start(shop, "app:main", "--reload") as terminal:
        ready(terminal, "app:main")
        below = children_of(terminal.process.pid)
        terminal.process.kill()
        gone(below)
        terminal.process.wait()
        terminal.wait_for("^ends version")


# --- the tree, from another terminal ---


def test_the_tree_is_seen_from_another_terminal(shop: Path) -> None:
    write(
        shop,
        """
        from shop import *
        class Once(Clerk):
            lives = 0
            def on_start(self):
                Once.lives += 1
                if Once.lives == 1:
                    self.send_after(0.0, "boom")
                else:
                    say("again")
        main = [
            Child(Supervisor, id="branch", args=([Child(Clerk, name="leaf"), Child(Once, name="once")],)),
            Child(OsProcess, id="sleeper", args=(["sleep", "600"],)),
        ]
        """,
    )
    with start(shop, "app:main") as terminal, start(shop, "shop:Shop") as other:
        ready(terminal, "app:main")
        terminal.wait_for("^again")
        ready(other, "shop:Shop")

        seen = tree("app:main")
        assert seen.returncode == 0
        title, head, *rows = (line.rstrip() for line in seen.stdout.splitlines())
        assert re.fullmatch(rf"app:main  process {terminal.process.pid}  running, up \d+ s", title)
        assert head.split() == ["child", "class", "state", "restarts", "waiting", "last", "exit"]
        assert [re.sub(r"[^\w':() ]+", "", row).split()[:3] for row in rows] == [
            ["Supervisor", "Supervisor", "running"],
            ["branch", "Supervisor", "running"],
            ["leaf", "Clerk", "running"],
            ["once", "Once", "running"],
            ["sleeper", "OsProcess", str(sleeper(terminal))],
        ]
        assert re.search(r" 1 +KeyError: 'boom'", rows[3])

        both = json.loads(tree("--json").stdout)
        assert {process["name"] for process in both} == {"app:main", "shop:Shop"}
        (one,) = json.loads(tree("--json", str(other.process.pid)).stdout)
        (root,) = one["children"]
        assert [(row["id"], row["state"], row["restart"]) for row in root["children"]] == [
            (name, "running", "permanent") for name in ("first", "second", "third")
        ]


def sleeper(terminal: Terminal) -> int:
    (pid,) = [pid for pid in children_of(terminal.process.pid) if command_of(pid)[:2] == ["sleep", "600"]]
    return pid


def test_a_tree_of_nobody_says_so_and_what_a_killed_application_left_does_not_count(shop: Path) -> None:
    nobody = tree()
    assert (nobody.returncode, nobody.stderr) == (
        1,
        "Error: no application of yours is running: `understudy start` runs one\n",
    )
    assert (tree("--json").returncode, tree("--json").stdout) == (0, "[]\n")
    with start(shop, "shop:Shop") as terminal:
        ready(terminal, "shop:Shop")
        terminal.process.kill()
        terminal.process.wait()
    assert (
        tree("shop:Shop").stderr
        == "Error: no application of yours called shop:Shop is running on this machine, and no node here has a member of that name\n"
    )


def test_an_application_whose_loop_is_held_up_is_said_not_to_answer(shop: Path) -> None:
    write(shop, STUBBORN)
    with start(shop, "app:blocking", "--shutdown-timeout", "0") as terminal:
        terminal.wait_for("^blocks")
        seen = tree()
        assert seen.returncode == 1
        assert seen.stderr == f"process {terminal.process.pid} does not answer: something holds its event loop\n"
        terminal.process.kill()


def test_the_parts_of_a_tree_are_seen_while_it_starts_and_while_it_ends(shop: Path) -> None:
    write(
        shop,
        """
        import asyncio
        from shop import *
        class Slow(Actor):
            stop_timeout = None
            async def on_start(self):
                say("waits")
                await asyncio.Event().wait()
        main = [Child(Clerk, name="first"), Child(Slow, name="slow")]
        """,
    )
    with start(shop, "app:main") as terminal:
        terminal.wait_for("^waits")
        (process,) = json.loads(tree("--json").stdout)
        (root,) = process["children"]
        assert process["phase"] == "starting"
        assert {(row["id"], row["state"]) for row in root["children"]} == {("first", "running"), ("slow", "starting")}
    write(shop, STUBBORN)
    with start(shop, "app:hanging") as terminal:
        ready(terminal, "app:hanging")
        terminal.process.terminate()
        terminal.wait_for("^hangs")
        (process,) = json.loads(tree("--json").stdout)
        assert process["phase"] == "stopping"
        terminal.process.terminate()
        assert terminal.exit_status(GONE_WITHIN) == 143
        assert not is_running(terminal.process.pid)
