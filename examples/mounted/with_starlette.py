"""`uvicorn understudy.examples.mounted.with_starlette:app`, then `curl -N localhost:8000/live/topics/cafe:corner/events`."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from understudy.examples.mounted.cafe import HOUSE, Cafe
from understudy.gateway import AsgiGateway

live = AsgiGateway("cafe", topics={"cafe:*": Cafe})


async def announce(request: Request) -> JSONResponse:
    """A route of the site that everybody in the café hears of."""
    topic, text = f"cafe:{request.path_params['cafe']}", request.query_params["text"]
    await live.publish(topic, "announced", {"text": text}, principal=HOUSE)
    return JSONResponse({"announced": True})


app = Starlette(
    routes=[Route("/announce/{cafe}", announce, methods=["POST"]), Mount("/live", live)], lifespan=live.lifespan
)
