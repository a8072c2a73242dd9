"""The pool packs what it is given, and what cannot be packed costs one packer, which comes back."""

from __future__ import annotations

import re

from tests.processes import running


async def test_the_pool_packs_all_files_and_survives_what_is_none() -> None:
    async with running("understudy.examples.pool") as program:
        assert await program.ended() == 0
    packed, lost, restarts, again = program.output.splitlines()
    sizes = re.fullmatch(r"(\d+) files, packed by 4 packers: (\d+) bytes have become (\d+)", packed)
    assert sizes is not None
    count, before, after = map(int, sizes.groups())
    assert count > 10
    assert after < before / 2
    assert lost.startswith("no file: TypeError")
    assert restarts == "1 of 4 packers crashed of it and has been replaced"
    assert again.startswith("and then: Packed(name='again', before=500, after=")
