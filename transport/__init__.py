"""Between machines: the wire format, links, nodes, membership. Stands on the kernel alone."""

from understudy.transport.admission import MailboxFull
from understudy.transport.copies import wire_copy
from understudy.transport.drain import DrainReport, Drains
from understudy.transport.guard import Fenced
from understudy.transport.health import LinkMetrics, PeerReachable, PeerUnreachable
from understudy.transport.keyfolder import KeyFolder
from understudy.transport.keys import KeyTrouble
from understudy.transport.loads import Load
from understudy.transport.meeting import CannotReach
from understudy.transport.membership import Membership
from understudy.transport.memory import MemoryTable
from understudy.transport.names import Names
from understudy.transport.network import BadAddress, CannotListen, Channel, Network, parse_address
from understudy.transport.news import NodeDrains, NodeLost, NodeUp
from understudy.transport.node import Node
from understudy.transport.payload import Payload
from understudy.transport.placement import Placement
from understudy.transport.remote import RemoteNamedRef, RemoteRef
from understudy.transport.schema import Unreadable
from understudy.transport.served import RemoteTable, TableServer
from understudy.transport.sources import PayloadError
from understudy.transport.sqlite import SqliteTable
from understudy.transport.standing import Standing
from understudy.transport.table import (
    Change,
    Expect,
    Member,
    MembershipTable,
    Name,
    Snapshot,
    Suspicion,
    TableError,
    TableUnavailable,
    TableUnusable,
    Versions,
)
from understudy.transport.traceback import RemoteTraceback
from understudy.transport.trust import KeyStore
from understudy.transport.view import View
from understudy.transport.wire import TooLarge
from understudy.transport.zeromq import ZeroMqNetwork

__all__ = [
    "BadAddress",
    "CannotListen",
    "CannotReach",
    "Change",
    "Channel",
    "DrainReport",
    "Drains",
    "Expect",
    "Fenced",
    "KeyFolder",
    "KeyStore",
    "KeyTrouble",
    "LinkMetrics",
    "Load",
    "MailboxFull",
    "Member",
    "Membership",
    "MembershipTable",
    "MemoryTable",
    "Name",
    "Names",
    "Network",
    "Node",
    "NodeDrains",
    "NodeLost",
    "NodeUp",
    "Payload",
    "PayloadError",
    "PeerReachable",
    "PeerUnreachable",
    "Placement",
    "RemoteNamedRef",
    "RemoteRef",
    "RemoteTable",
    "RemoteTraceback",
    "Snapshot",
    "SqliteTable",
    "Standing",
    "Suspicion",
    "TableError",
    "TableServer",
    "TableUnavailable",
    "TableUnusable",
    "TooLarge",
    "Unreadable",
    "Versions",
    "View",
    "ZeroMqNetwork",
    "parse_address",
    "wire_copy",
]
