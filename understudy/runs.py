"""Runs for clients: as JSON, and over plain HTTP, so that a job needs no browser and no library.

    POST   /runs               {"program": "arena", "args": {"seed": 7}, "rate": 10}   -> 201 and the run
    GET    /runs               {"runs": [...]}
    GET    /runs/{id}          the run
    DELETE /runs/{id}          cancel it                                                -> 202 and the run
    GET    /runs/{id}/events   its frames, up to its end, as server-sent events: the topic `run:{id}`

This is where the engine's actors and the gateway's endpoints meet; neither wing knows the other.
"""

import json
from base64 import b64encode
from math import isfinite
from typing import Any

from aiohttp import web

from understudy.actors import ActorRef, Refused
from understudy.engine import CancelRun, GetRun, Launch, ListRuns, RunInfo
from understudy.gateway import HttpError, json_answer, stream

DEFAULT_PROGRAM = "arena"
"""What an empty POST runs: one button, one request."""


def plain(value: Any) -> Any:
    """A value of a run as JSON has it: bytes become base64 text, numbers that are none (NaN, infinities) null."""
    match value:
        case bytes():
            return b64encode(value).decode()
        case float() if not isfinite(value):
            return None
        case list():
            return [plain(each) for each in value]
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
        case _:
            return value


def frame_json(data: Any) -> dict[str, Any]:
    """A frame as clients get it: an object; a frame that is none stands in one, as `value`."""
    return plain(data) if isinstance(data, dict) else {"value": plain(data)}


def run_json(info: RunInfo) -> dict[str, Any]:
    """A run as clients get it. Times are Unix seconds; `pid` is the engine's process, `worker_pid` that of the program."""
    return {
        "id": info.run,
        "program": info.program,
        "args": plain(info.args),
        "state": info.state,
        "node": info.node,
        "pid": info.pid,
        "worker_pid": info.worker_pid,
        "started": info.started,
        "ended": info.ended,
        "turn": info.turn,
        "result": plain(info.result),
        "reason": info.reason,
    }


def run_routes(runs: ActorRef[Any]) -> list[web.AbstractRouteDef]:
    """The routes above, answered by the `Runs` actor that `runs` refers to."""

    async def launch(request: web.Request) -> web.StreamResponse:
        wish = await _wish(request)
        try:
            info = await runs.call(wish)
        except Refused as refusal:
            raise HttpError(409, "refused", refusal.detail) from None
        return json_answer(run_json(info), status=201, headers={"Location": f"/runs/{info.run}"})

    async def listing(_: web.Request) -> web.StreamResponse:
        return json_answer({"runs": [run_json(info) for info in await runs.call(ListRuns())]})

    async def show(request: web.Request) -> web.StreamResponse:
        return json_answer(run_json(await _known(runs, GetRun(request.match_info["run"]))))

    async def cancel(request: web.Request) -> web.StreamResponse:
        return json_answer(run_json(await _known(runs, CancelRun(request.match_info["run"]))), status=202)

    async def events(request: web.Request) -> web.StreamResponse:
        run = request.match_info["run"]
        await _known(runs, GetRun(run))
        return await stream(request, f"run:{run}")

    return [
        web.post("/runs", launch),
        web.get("/runs", listing),
        web.get("/runs/{run}", show),
        web.delete("/runs/{run}", cancel),
        web.get("/runs/{run}/events", events, allow_head=False),
    ]


async def _known(runs: ActorRef[Any], question: GetRun | CancelRun) -> RunInfo:
    try:
        return await runs.call(question)
    except Refused as refusal:
        raise HttpError(404, "unknown_run", refusal.detail) from None


async def _wish(request: web.Request) -> Launch:
    """The body as a Launch; an empty body is a wish, too."""
    body: Any = {}
    text = await request.text()
    if text.strip():
        try:
            body = json.loads(text)
        except ValueError:
            raise HttpError(
                400, "malformed_json", 'the body is no JSON; send {"program": "arena", "args": {}}'
            ) from None
    match body:
        case {**fields} if not fields.keys() - {"program", "args", "rate"}:
            program, args, rate = fields.get("program", DEFAULT_PROGRAM), fields.get("args", {}), fields.get("rate")
        case _:
            raise HttpError(
                400, "malformed_run", "the body is a JSON object with program, args and rate, and nothing else"
            )
    if not isinstance(program, str) or not isinstance(args, dict):
        raise HttpError(
            400, "malformed_run", "program is a name, and args an object with the program's arguments by name"
        )
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float)):
        raise HttpError(400, "malformed_run", "rate is a number of frames per second")
    return Launch(program, args, rate)
