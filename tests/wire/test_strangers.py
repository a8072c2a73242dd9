"""See strangers.py. `make proof wire` sends a million broken frames, and holds ten thousand connections."""

from pathlib import Path

from tests.wire.strangers import at_the_door


async def test_strangers_deliver_nothing_and_make_nothing_grow_and_a_friend_comes_in_meanwhile(tmp_path: Path) -> None:
    counts = {"noise": 200, "claims": 100, "idle": 1_000, "frames": 10_000}
    figures = await at_the_door(tmp_path, counts, seed=1)
    assert figures["delivered"] == 0


async def test_who_has_no_key_or_the_wrong_one_or_one_that_was_revoked_delivers_nothing_nor_does_a_trusted_liar(
    tmp_path: Path,
) -> None:
    refused = dict.fromkeys(("no mechanism", "unknown key", "wrong server key", "revoked key"), 500)
    figures = await at_the_door(tmp_path, {**refused, "trusted key, broken frames": 2_000}, seed=1, keys=True)
    assert figures["delivered"] == 0
