"""A table by its address: which kind it is, and what that needs.

postgresql://user:password@db-1,db-2/cluster     PostgreSQL; everything that libpq knows may stand in it
etcd://10.0.0.1:2379,10.0.0.2:2379/cluster       etcd; etcds:// with TLS
"""

from __future__ import annotations

from importlib.util import find_spec

from understudy.transport.table import MembershipTable, TableUnusable

POSTGRES = ("postgresql://", "postgres://")
ETCD = ("etcd://", "etcds://")
FORMS = "postgresql://user:password@host/database, etcd://host:2379/prefix, etcds://host:2379/prefix"


def check_address(address: str) -> None:
    """ValueError unless it is the address of a table."""
    if not address.startswith((*POSTGRES, *ETCD)):
        raise ValueError(f"{without_password(address)!r} is no address of a membership table; it is one of: {FORMS}")


async def open_table(address: str) -> MembershipTable:
    """The table there; it is made if it is not. Raises ValueError for an address that is none, TableError."""
    check_address(address)
    if address.startswith(ETCD):
        from understudy.transport.etcd import EtcdTable

        return await EtcdTable.open(address)
    if find_spec("psycopg") is None:
        raise TableUnusable(
            f"the membership table {without_password(address)} is in PostgreSQL, and psycopg is not installed; "
            f"install understudy[postgres]"
        )
    from understudy.transport.postgres import PostgresTable

    return await PostgresTable.open(address)


def without_password(address: str) -> str:
    """The address as it may stand in an error or a log."""
    scheme, between, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    name, _, _ = user.partition(":")
    return f"{scheme}{between}{name}{at}{hosts}{slash}{path.partition('?')[0]}"
