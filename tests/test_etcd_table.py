"""What is particular to the table in etcd: servers that are away, refuse, stand still, or have no room."""

import asyncio
import json
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Etcd, free_port, missing_etcd
from understudy.transport import etcd as module
from understudy.transport import etcd_client as client
from understudy.transport.etcd import EtcdTable
from understudy.transport.opening import open_table
from understudy.transport.table import Change, Expect, Member, Name, TableUnavailable, TableUnusable, Versions

ROW = Member("engine-1", 1, "tcp://127.0.0.1:4001")


class SecureEtcd(Etcd):
    """One that speaks TLS alone, with a certificate made for it, and with nobody who does not show the same."""

    def __init__(self) -> None:
        super().__init__()
        self.certificate, self.key = str(self.folder / "certificate.pem"), str(self.folder / "key.pem")
        made = ("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        files = ("-out", self.certificate, "-keyout", self.key)
        whose = ("-days", "2", "-subj", "/O=understudy", "-addext", "subjectAltName=IP:127.0.0.1")
        subprocess.run([*made, *files, *whose], check=True, capture_output=True)
        Path(self.key).chmod(0o644)  # the server runs as somebody else
        self._context = ssl.create_default_context(cafile=self.certificate)
        self._context.load_cert_chain(self.certificate, self.key)

    def command(self) -> list[str]:
        here = f"127.0.0.1:{self.port}"
        words = [word.replace(f"http://{here}", f"https://{here}") for word in super().command()]
        options = ("--cert-file", self.certificate, "--key-file", self.key, "--trusted-ca-file", self.certificate)
        return [*words, *options, "--client-cert-auth"]

    def answers(self) -> bool:
        try:
            url = f"https://127.0.0.1:{self.port}/health"
            urllib.request.urlopen(url, timeout=5, context=self._context).close()
        except OSError:
            return False
        return True


def missing_openssl() -> str:
    """Why no certificate can be made here; "" if one can."""
    return "" if shutil.which("openssl") else "not installed: openssl (Debian: apt-get install openssl)"


@pytest.fixture
def own() -> Iterator[Etcd]:
    """A server that the test may end."""
    if why := missing_etcd():
        pytest.skip(why)
    with Etcd("--quota-backend-bytes", "1000000") as server:
        yield server


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[EtcdTable]:
    table = await EtcdTable.open(address)
    yield table
    await table.close()


async def claim(table: EtcdTable, name: str) -> Versions | None:
    return await table.commit(Expect(names={name: 0}), Change(names=(Name(name, "stage", 1),)))


async def until_back(table: EtcdTable) -> Versions:
    while True:
        try:
            return (await table.read()).versions
        except TableUnavailable:
            await asyncio.sleep(0.01)


def ask(server: Etcd, path: str, **body: Any) -> None:
    url = f"http://127.0.0.1:{server.port}/v3/{path}"
    urllib.request.urlopen(url, json.dumps(body).encode(), timeout=10).close()


async def test_a_killed_server_is_unavailable_and_what_was_committed_is_there_when_it_is_back(own: Etcd) -> None:
    async with opened(own.fresh()) as table:
        done = await table.commit(Expect(members=0), Change(members=(ROW,)))
        own.kill()
        for call in (table.read(), claim(table, "lobby"), table.guarded_read("lobby", "x")):
            with pytest.raises(TableUnavailable, match="cannot be reached for now"):
                await call
        await asyncio.to_thread(own.start)
        assert await until_back(table) == done
        assert await claim(table, "lobby") is not None


async def test_hints_go_on_when_a_server_is_back(own: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.01)
    async with opened(own.fresh()) as table:
        hints = table.hints()
        assert await anext(hints) == Versions()
        coming = asyncio.ensure_future(anext(hints))
        own.stop()
        await asyncio.to_thread(own.start)
        await until_back(table)
        now = await claim(table, "lobby")
        assert await coming == now
        await hints.aclose()  # type: ignore[attr-defined]


class Way:
    """A way to the server on which the first watch falls silent as soon as it is on: nothing ends, and nothing comes."""

    def __init__(self, server: Etcd) -> None:
        self._server = server
        self._watches = 0
        self.watched_again = asyncio.Event()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._server.port)
        watches = 0

        async def ask() -> None:
            nonlocal watches
            while data := await reader.read(65536):
                if b"/v3/watch" in data:
                    self._watches += 1
                    watches = self._watches
                away.write(data)
            away.close()

        async def answer() -> None:
            silent = False
            while data := await there.read(65536):
                if not silent:
                    writer.write(data)
                silent = watches == 1
                if watches == 2:
                    self.watched_again.set()
            writer.close()

        with suppress(ConnectionError):
            await asyncio.gather(ask(), answer())


async def test_a_watch_that_falls_silent_is_found_out_and_made_again(
    etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.1)
    way = Way(etcd)
    address = etcd.fresh()
    async with await asyncio.start_server(way.meet, "127.0.0.1", 0) as listener, opened(address) as writer:
        port = listener.sockets[0].getsockname()[1]
        async with opened(address.replace(f":{etcd.port}/", f":{port}/")) as table:
            hints = table.hints()
            assert await anext(hints) == Versions()
            for name in ("lobby", "stage"):  # the first may be found as the watch says that it is on
                now = await claim(writer, name)
                assert await anext(hints) == now
            following = asyncio.ensure_future(anext(hints))
            await way.watched_again.wait()
            now = await claim(writer, "runs")
            assert await following == now
            await hints.aclose()  # type: ignore[attr-defined]


async def test_a_reading_that_compaction_overtakes_begins_again(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    async with opened(etcd.fresh()) as table:
        for number in range(5):
            await claim(table, f"room {number}")
        txn = table._client.txn
        compacted: list[int] = []

        async def overtaken(*operations: Any) -> client.Answer:
            answer = await txn(*operations)
            if not compacted:  # the first page is there, the others are to come from the same revision
                compacted.append(answer.revision)
                await claim(writer, "late")
                ask(etcd, "kv/compaction", revision=str(answer.revision + 1), physical=True)
            return answer

        async with opened(f"etcd://127.0.0.1:{etcd.port}/{table._prefix}") as writer:
            monkeypatch.setattr(table._client, "txn", overtaken)
            assert len((await table.read()).names) == 6
            assert compacted


async def test_a_server_that_stands_still_is_unavailable_in_time_and_the_table_goes_on_with_it(
    own: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_WITHIN", 0.5)
    async with opened(own.fresh()) as table:
        await claim(table, "lobby")
        own.pause()
        for call in (table.read(), claim(table, "runs")):
            with pytest.raises(TableUnavailable, match=r"did not answer within 0\.5 s"):
                await call
        own.resume()
        await until_back(table)
        assert await claim(table, "stage") is not None


async def test_the_next_server_is_asked_when_nobody_listens_at_the_first(etcd: Etcd) -> None:
    address = etcd.fresh().replace("127.0.0.1", f"127.0.0.1:{free_port()},127.0.0.1", 1)
    async with opened(address) as table:
        assert await claim(table, "lobby") is not None


async def test_no_room_fails_the_commit_with_the_remedy_and_readers_go_on(own: Etcd) -> None:
    async with opened(own.fresh()) as table:
        versions = await claim(table, "lobby")
        assert versions is not None

        async def fill() -> None:
            for number in count():
                await table.guarded_write("lobby", versions.names, str(number), bytes(100_000))

        with pytest.raises(TableUnavailable, match=r"no room for .*space exceeded; compact and defragment etcd"):
            await fill()
        assert (await table.read()).name("lobby") is not None


async def test_whoever_is_not_let_in_hears_why_and_whoever_is_stays_in_after_a_restart(own: Etcd) -> None:
    ask(own, "auth/user/add", name="root", password="a secret")
    ask(own, "auth/role/add", name="root")
    ask(own, "auth/user/grant", user="root", role="root")
    ask(own, "auth/enable")
    address = own.fresh()
    for user in ("", "root:wrong@", "stranger:wrong@"):
        with pytest.raises(TableUnusable, match=r"does not let us in: .*correct the user and the password") as refused:
            await open_table(address.replace("://", f"://{user}"))
        assert "wrong" not in str(refused.value)
    async with opened(address.replace("://", "://root:a%20secret@")) as table:
        own.stop()
        await asyncio.to_thread(own.start)  # it has forgotten whom it let in
        await until_back(table)
        assert await claim(table, "lobby") is not None


async def test_the_table_of_another_version_is_refused(etcd: Etcd) -> None:
    async with opened(etcd.fresh()) as table:
        await table._client.txn((), [client.put(table._key("layout"), "99")])
        with pytest.raises(TableUnusable, match=r"another version of Understudy \(layout 99, this one reads 1\)"):
            await open_table(f"etcd://127.0.0.1:{etcd.port}/{table._prefix}")
        with pytest.raises(TableUnusable, match="layout 99"):
            await table.read()


async def test_tls_with_a_certificate_of_ones_own_which_both_sides_show() -> None:
    if why := missing_etcd() or missing_openssl():
        pytest.skip(why)
    with SecureEtcd() as server:
        plain = server.fresh()
        secure = plain.replace("etcd://", "etcds://")
        async with opened(f"{secure}?ca={server.certificate}&cert={server.certificate}&key={server.key}") as table:
            now = await claim(table, "lobby")
            hints = table.hints()
            assert await anext(hints) == now
            await hints.aclose()  # type: ignore[attr-defined]
        for address in (plain, secure, f"{secure}?ca={server.certificate}"):  # no TLS; no trust in it; none in us
            with pytest.raises(TableUnavailable, match="cannot be reached for now"):
                await open_table(address)


async def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    for address in ("etcd://me:hush@/x", "etcd://me:hush@host:port/x", "etcd://me:hush@host/x?no_such_option=1"):
        with pytest.raises(ValueError, match="is no address of an etcd") as refused:
            await open_table(address)
        assert "hush" not in str(refused.value)
