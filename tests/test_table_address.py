"""A node that is told where its table is: by an address, which may be wrong in many ways."""

import asyncio
from pathlib import Path

import pytest

from tests.servers import Etcd, Postgres
from understudy import Fenced, Node
from understudy.transport import MemoryTable


@pytest.mark.parametrize("engine", ["postgres", "etcd"])
async def test_nodes_meet_in_a_table_on_a_server(engine: str, request: pytest.FixtureRequest) -> None:
    server: Postgres | Etcd = request.getfixturevalue(engine)
    address = server.fresh()
    async with Node("stage", table=address) as stage, Node("engine-1", table=address) as other:
        await asyncio.gather(stage.up("engine-1"), other.up("stage"))
        ours = await stage.names.claim("x")
        assert ours is not None
        await stage.table.guarded_write("x", ours.fence, "key", b"value")
        assert await other.table.guarded_read("x", "key") == b"value"
        with pytest.raises(Fenced, match="'stage' has it"):
            await other.table.guarded_write("x", ours.fence + 1, "key", b"another")
    async with Node("late", table=address) as late:
        assert {(row.node, row.status) for row in late.members()} >= {("stage", "left"), ("engine-1", "left")}


def test_a_node_has_one_table(tmp_path: Path) -> None:
    for table in (MemoryTable(), "postgresql://127.0.0.1/x"):
        with pytest.raises(
            ValueError, match="can use one membership table: name it by `table` or by `join`, not by both"
        ):
            Node("stage", table=table, join="tcp://127.0.0.1:4100")
        with pytest.raises(ValueError, match="by `table` or by `state`"):
            Node("stage", table=table, state=tmp_path)


@pytest.mark.parametrize("address", ["", "postgres", "mysql://me:hush@host/x", "tcp://127.0.0.1:4100", "/var/lib/x"])
def test_an_address_of_no_table_is_refused_with_those_there_are(address: str) -> None:
    with pytest.raises(
        ValueError, match=r"no address of a membership table; it is one of: postgresql://.*etcd://"
    ) as refused:
        Node("stage", table=address)
    assert "hush" not in str(refused.value)
