"""A client of the gateway for Python programs: bots, scripts, tests. `understudy.client.sync` is the same without `await`.

    async with connect("http://127.0.0.1:4000") as socket:
        room = await socket.join("room:lobby", {"name": "Ada"})
        await room.push("say", {"text": "hello"})
        async for event in room:
            match event:
                case Resync(payload=snapshot): ...           something may have been missed: this is the present
                case Event("line", line): ...

Connections that are lost are made again, topics joined again, and what was said meanwhile is brought by the join: see
`understudy.client.channel` for what is promised.
"""

from understudy.client.channel import Channel, Cursor, Event, Resync
from understudy.client.errors import NotConnected, PushRefused, PushTimeout
from understudy.client.socket import Socket, connect

__all__ = [
    "Channel",
    "Cursor",
    "Event",
    "NotConnected",
    "PushRefused",
    "PushTimeout",
    "Resync",
    "Socket",
    "connect",
]
