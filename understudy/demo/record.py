"""Where what was said in a chat room outlives the room: in the table of the cluster, under the fence of its name.

    ChatRoom ── write(topic, fence, lines) ──> guarded_write("room/" + topic, fence, "lines", lines)
                                                 Fenced: another node has the room by now. This one is over, and writes nothing.

The few lines of a demonstration fit there; what there is more of belongs into a journal.
"""

from understudy.examples.chat import Unkept
from understudy.transport import Fenced, Node, TableError

KEY = "lines"


class TableRecord:
    """The record of all rooms of a kind."""

    def __init__(self, node: Node, kind: str) -> None:
        self._node = node
        self._kind = kind

    async def read(self, topic: str) -> bytes | None:
        """What was written last; TableError: the room does not start now, and is tried again."""
        return await self._node.table.guarded_read(self._name(topic), KEY)

    async def write(self, topic: str, fence: int, value: bytes) -> None:
        """Raises Unkept while the table cannot be reached, and Fenced."""
        try:
            await self._node.table.guarded_write(self._name(topic), fence, KEY, value)
        except Fenced:
            raise
        except TableError as error:
            raise Unkept(f"the table of the cluster cannot be reached: {error}") from error

    def _name(self, topic: str) -> str:
        return f"{self._kind}/{topic}"
