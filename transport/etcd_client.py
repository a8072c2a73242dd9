"""etcd's own protocol, as JSON over HTTP: as much of it as the membership table needs.

    txn(compares, operations, otherwise) ──▶ POST /v3/kv/txn at the server that answered last ──▶ Answer
                                              └── nobody listens there: at the next one

Keys and values are base64 on the wire, numbers are texts; a number that is 0 is left out. A request to a server that
was reached is not repeated: whether it took effect is unknown.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp

from understudy.transport.opening import without_password
from understudy.transport.table import TableError, TableUnavailable, TableUnusable

ANSWER_WITHIN = 5.0
"""Seconds that a request may take at one server."""

Operation: TypeAlias = dict[str, Any]


class Row(NamedTuple):
    """A key with its value, and the revision of the whole store at which it was written last."""

    key: str
    value: bytes
    revision: int


class Answer(NamedTuple):
    """`succeeded`: the compares held. `found`: the rows of each `look`, in order; `revision`: that of the store then."""

    succeeded: bool
    revision: int
    found: list[list[Row]]


def look(key: str, **options: Any) -> Operation:
    """The row with that key; with `range_end`, all from it to there."""
    encoded = {name: _sent(value) if name == "range_end" else value for name, value in options.items()}
    return {"requestRange": {"key": _sent(key), **encoded}}


def look_under(prefix: str, **options: Any) -> Operation:
    """All rows whose keys begin so."""
    return look(prefix, range_end=after(prefix), **options)


def put(key: str, value: bytes | str) -> Operation:
    """Write a row."""
    return {"requestPut": {"key": _sent(key), "value": _sent(value)}}


def delete(key: str) -> Operation:
    """Delete a row, if it is there."""
    return {"requestDeleteRange": {"key": _sent(key)}}


def together(operations: Sequence[Operation], size: int) -> list[Operation]:
    """The same in nested transactions of `size`: how many may stand side by side is limited."""
    parts = (operations[start : start + size] for start in range(0, len(operations), size))
    return [{"requestTxn": {"success": list(part)}} for part in parts]


def is_at(key: str, revision: int) -> Operation:
    """A condition: the row was last written at that revision; 0: there is none."""
    return {"key": _sent(key), "target": "MOD", "result": "EQUAL", "modRevision": revision}


def after(prefix: str) -> str:
    """The first key that comes after all those that begin so. The prefix ends with an ASCII character."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class EtcdClient:
    """`address`: etcd://user:password@host:port,host:port/prefix?ca=...&cert=...&key=..., etcds:// for TLS."""

    def __init__(self, address: str) -> None:
        self.label = without_password(address)
        try:
            parts = urlsplit(address)
            user, _, hosts = parts.netloc.rpartition("@")
            self.prefix = unquote(parts.path).strip("/")
            scheme = "https" if parts.scheme == "etcds" else "http"
            self._servers = [str(_server(scheme, host)) for host in hosts.split(",")]
            options = {
                name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
            }
            if unknown := options.keys() - {"ca", "cert", "key"}:
                raise ValueError(f"it knows no {', '.join(sorted(unknown))}")
            self._tls = _tls(options) if scheme == "https" else True
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{self.label!r} is no address of an etcd: {error}; it looks like etcd://10.0.0.1:2379,10.0.0.2:2379/cluster"
            ) from None
        name, _, password = user.partition(":")
        self._user = {"name": unquote(name), "password": unquote(password)} if name else None
        self._token = ""
        self._http: aiohttp.ClientSession | None = None
        self._closed = False

    async def txn(
        self, compares: Sequence[Operation], success: Sequence[Operation], failure: Sequence[Operation] = ()
    ) -> Answer:
        """Do `success` if all `compares` hold, else `failure`; at one moment. Raises TableError."""
        body = {"compare": list(compares), "success": list(success), "failure": list(failure)}
        answer = await self._ask("/v3/kv/txn", body)
        found: list[list[Row]] = []
        _gather(answer.get("responses", ()), found)
        return Answer(bool(answer.get("succeeded")), int(answer["header"]["revision"]), found)

    async def watch(self, prefix: str, patience: float) -> AsyncGenerator[bool, None]:
        """True when it is on, and whenever a row changes whose key begins so; False after `patience` seconds without."""
        request = {"createRequest": {"key": _sent(prefix), "rangeEnd": _sent(after(prefix))}}
        try:
            headers = {"Authorization": self._token} if self._token else {}
            limits = aiohttp.ClientTimeout(total=None, connect=ANSWER_WITHIN)
            async with self._session().post(
                self._servers[0] + "/v3/watch", json=request, headers=headers, timeout=limits
            ) as response:
                yield True
                while True:
                    try:
                        async with asyncio.timeout(patience):
                            line = await response.content.readline()
                    except TimeoutError:
                        yield False
                        continue
                    if not line:
                        raise TableUnavailable(f"the membership table {self.label} went away")
                    said = json.loads(line)
                    if "error" in said or said.get("result", {}).get("canceled"):
                        raise self._explained(
                            f"it tells us no changes any more: {line.decode(errors='replace').strip()}"
                        )
                    yield True
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._servers.append(self._servers.pop(0))
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """Close its connections."""
        self._closed = True
        if self._http is not None:
            await self._http.close()

    def check_open(self) -> None:
        """TableUnavailable once it is closed."""
        if self._closed:
            raise TableUnavailable(f"the membership table {self.label} is closed here")

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.check_open()
        if self._user is not None and not self._token:
            await self._authenticate()
        try:
            return await self._post(path, body)
        except _TokenExpired:
            await self._authenticate()
            return await self._post(path, body)

    async def _authenticate(self) -> None:
        self._token = (await self._post("/v3/auth/authenticate", self._user))["token"]

    async def _post(self, path: str, body: object) -> dict[str, Any]:
        headers = {"Authorization": self._token} if self._token else {}
        refused: Exception | None = None
        for _ in self._servers:
            try:
                async with self._session().post(self._servers[0] + path, json=body, headers=headers) as response:
                    answer: dict[str, Any] = json.loads(await response.read())
            except aiohttp.ClientConnectorError as error:
                refused = error
                self._servers.append(self._servers.pop(0))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self._servers.append(self._servers.pop(0))
                raise self._unavailable(error) from error
            else:
                if "error" in answer or response.status != 200:
                    raise self._explained(str(answer.get("error", response.reason)))
                return answer
        raise self._unavailable(refused) from refused

    def _session(self) -> aiohttp.ClientSession:
        self.check_open()
        if self._http is None:
            limits = aiohttp.ClientTimeout(total=ANSWER_WITHIN)
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls, limit=0), timeout=limits)
        return self._http

    def _unavailable(self, error: Exception | None) -> TableUnavailable:
        if self._closed:
            return TableUnavailable(f"the membership table {self.label} is closed here")
        if isinstance(error, TimeoutError):
            return TableUnavailable(f"the membership table {self.label} did not answer within {ANSWER_WITHIN:g} s")
        return TableUnavailable(
            f"the membership table {self.label} cannot be reached for now: {error or type(error).__name__}"
        )

    def _explained(self, said: str) -> TableError:
        table = f"the membership table {self.label}"
        if "invalid auth token" in said and self._token:
            self._token = ""
            return _TokenExpired(said)
        if any(word in said for word in ("authentication", "user name is empty", "permission denied")):
            return TableUnusable(
                f"{table} does not let us in: {said}; correct the user and the password in the address"
            )
        if "space exceeded" in said:
            return TableUnavailable(
                f"no room for {table}: {said}; compact and defragment etcd, then disarm its alarm (docs/tables.md)"
            )
        if "has been compacted" in said:
            return Compacted(f"{table} threw away, while we read it, the state that we were reading: {said}")
        if "too many operations" in said:
            return TableUnusable(
                f"{table} allows too few operations in a transaction: {said}; start etcd with --max-txn-ops=128"
            )
        return TableUnavailable(f"{table} does not work for now: {said}")


class Compacted(TableUnavailable):
    """A long reading was overtaken by etcd's compaction: begin it again."""


class _TokenExpired(TableUnavailable):
    """A token of an earlier life of the server, or one that has run out."""


def _gather(responses: Sequence[dict[str, Any]], found: list[list[Row]]) -> None:
    for response in responses:
        if "response_range" in response:
            found.append([_row(kv) for kv in response["response_range"].get("kvs", ())])
        elif "response_txn" in response:
            _gather(response["response_txn"].get("responses", ()), found)


def _row(kv: dict[str, str]) -> Row:
    return Row(b64decode(kv["key"]).decode(), b64decode(kv.get("value", "")), int(kv["mod_revision"]))


def _sent(text: bytes | str) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def _server(scheme: str, host: str) -> str:
    parts = urlsplit(f"{scheme}://{host}")
    if not parts.hostname:
        raise ValueError("it names no host")
    return f"{scheme}://{host}" if parts.port else f"{scheme}://{host}:2379"


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ca"))
    if "cert" in options:
        context.load_cert_chain(options["cert"], options.get("key"))
    return context
