"""`uvicorn understudy.examples.mounted.with_django:app`, then `curl -N localhost:8000/live/topics/cafe:corner/events`.

A Django site in one file; what concerns the gateway is `live`, and the last line, which in yours stands in `asgi.py`.
Django mounts no other ASGI application, so the gateway stands beside it.
"""

# pyright: reportMissingTypeStubs=false

import secrets

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from understudy.examples.mounted.cafe import HOUSE, Cafe
from understudy.gateway import AsgiGateway

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY=secrets.token_urlsafe()
    )

live = AsgiGateway("cafe", topics={"cafe:*": Cafe})


async def announce(request: HttpRequest, cafe: str) -> JsonResponse:
    """A route of the site that everybody in the café hears of."""
    await live.publish(f"cafe:{cafe}", "announced", {"text": request.GET["text"]}, principal=HOUSE)
    return JsonResponse({"announced": True})


urlpatterns = [path("announce/<str:cafe>", announce)]

app = live.beside(get_asgi_application(), at="/live")
