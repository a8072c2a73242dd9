"""To the outside: HTTP, WebSocket (Phoenix Channels), server-sent events; sessions, topics, rooms, presence."""

from understudy.gateway.connection import Connection, Serializer
from understudy.gateway.events import stream
from understudy.gateway.gateway import Gateway, GetUrl
from understudy.gateway.http import HttpError, Mount, json_answer
from understudy.gateway.messages import Member
from understudy.gateway.presence import Presence
from understudy.gateway.room import Room
from understudy.gateway.rooms import Shared, Topic

__all__ = [
    "Connection",
    "Gateway",
    "GetUrl",
    "HttpError",
    "Member",
    "Mount",
    "Presence",
    "Room",
    "Serializer",
    "Shared",
    "Topic",
    "json_answer",
    "stream",
]
