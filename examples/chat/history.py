"""What was said in a room: its lines, oldest first, and pages of them, from the end backwards."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

LINES, CHARACTERS = 5_000, 2_000_000
"""What a room remembers at most, of each; the oldest lines go first."""

PAGE = 50
"""Lines that a newcomer gets, and whoever scrolls back gets at a time."""

Line: TypeAlias = dict[str, Any]
"""{id, key, author, text, at}"""


class History:
    """The lines of one room, each once."""

    def __init__(self, lines: Iterable[Line] = (), *, most: int = LINES, characters: int = CHARACTERS) -> None:
        self.most = most
        self.characters = characters
        self._lines: deque[Line] = deque()
        self._places: dict[str, int] = {}
        self._gone = 0
        self._size = 0
        for line in lines:
            self.append(line)

    def append(self, line: Line) -> None:
        """One more. The latest stays, however long it is."""
        self._places[line["id"]] = self._gone + len(self._lines)
        self._lines.append(line)
        self._size += len(line["text"])
        while len(self._lines) > 1 and (len(self._lines) > self.most or self._size > self.characters):
            oldest = self._lines.popleft()
            self._gone += 1
            self._size -= len(oldest["text"])
            del self._places[oldest["id"]]

    def page(self, before: str | None = None) -> dict[str, Any]:
        """`{"lines": [...], "earlier": bool}`: the last PAGE lines before the line of that id (the last ones of all, if None), and
        whether there are earlier ones. KeyError: that line is not here, or not any more.
        """
        end = len(self._lines) if before is None else self._places[before] - self._gone
        start = max(0, end - PAGE)
        return {"lines": list(islice(self._lines, start, end)), "earlier": start > 0}

    def __contains__(self, wanted: object) -> bool:
        return wanted in self._places

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
