"""`uvicorn understudy.examples.mounted.with_fastapi:app`, then `curl -N localhost:8000/live/topics/cafe:corner/events`."""

from fastapi import FastAPI

from understudy.examples.mounted.cafe import HOUSE, Cafe
from understudy.gateway import AsgiGateway

live = AsgiGateway("cafe", topics={"cafe:*": Cafe})
app = FastAPI(lifespan=live.lifespan)
app.mount("/live", live)


@app.post("/announce/{cafe}")
async def announce(cafe: str, text: str) -> dict[str, bool]:
    """A route of the site that everybody in the café hears of."""
    await live.publish(f"cafe:{cafe}", "announced", {"text": text}, principal=HOUSE)
    return {"announced": True}
