"""A million broken frames do no harm: a part of them here, all of them by `make proof wire`."""

from tests.fuzz import fuzz


async def test_broken_frames_of_peers_and_strangers_escape_nowhere_grow_nothing_and_the_node_lives() -> None:
    found = await fuzz(20_000)
    assert not found.escaped, found.escaped[:5]
    assert found.grown < 50, str(found)
    assert found.longest < 1.0, str(found)
