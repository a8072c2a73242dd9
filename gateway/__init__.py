"""To the outside: HTTP, WebSocket (Phoenix Channels), server-sent events; sessions, topics, rooms, presence."""

from understudy.gateway.asgi import AsgiGateway
from understudy.gateway.auth import Anonymous, Auth, Unauthorized
from understudy.gateway.certificate import Certificate
from understudy.gateway.connection import Connection, Serializer
from understudy.gateway.cookies import SignedCookie
from understudy.gateway.credentials import Credentials
from understudy.gateway.delivery import RELIABLE, SNAPSHOT, Delivery, conflate
from understudy.gateway.events import stream
from understudy.gateway.gateway import Gateway, GetRefused, GetUrl
from understudy.gateway.http import HttpError, Mount, json_answer
from understudy.gateway.limits import Limits, Rate
from understudy.gateway.log import Cursor, Entry, Log, MemoryLog
from understudy.gateway.messages import Member
from understudy.gateway.passwords import Passwords, hash_password
from understudy.gateway.presence import Presence
from understudy.gateway.principal import Principal
from understudy.gateway.requests import GetHistory, GetPresence, GetState, Publish
from understudy.gateway.room import Room
from understudy.gateway.rooms import Shared, Topic
from understudy.gateway.tokens import SignedToken

__all__ = [
    "RELIABLE",
    "SNAPSHOT",
    "Anonymous",
    "AsgiGateway",
    "Auth",
    "Certificate",
    "Connection",
    "Credentials",
    "Cursor",
    "Delivery",
    "Entry",
    "Gateway",
    "GetHistory",
    "GetPresence",
    "GetRefused",
    "GetState",
    "GetUrl",
    "HttpError",
    "Limits",
    "Log",
    "Member",
    "MemoryLog",
    "Mount",
    "Passwords",
    "Presence",
    "Principal",
    "Publish",
    "Rate",
    "Room",
    "Serializer",
    "Shared",
    "SignedCookie",
    "SignedToken",
    "Topic",
    "Unauthorized",
    "conflate",
    "hash_password",
    "json_answer",
    "stream",
]
