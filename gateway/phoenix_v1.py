"""Phoenix Channels V1, which `vsn=1.0.0`, or no `vsn` at all, asks for: the messages of phoenix.py as objects.

    client                                                                       server
      | {"topic": "room:a", "event": "phx_join", "ref": "1", "payload": {...}}     |
      |--------------------------------------------------------------------------->|
      |  {"topic": "room:a", "event": "phx_reply", "ref": "1",                     |
      |   "payload": {"status": "ok", "response": {...}}}                          |
      |<---------------------------------------------------------------------------|
      | {"topic": "room:a", "event": "line", "ref": null, "payload": {...}}        |
      |<---------------------------------------------------------------------------|

What the server says has no `join_ref`, and there are no binary frames. A client may name a `join_ref`; where it does
not, a join's `ref` stands for it, so that the end of a stay can be told from that of the next: `ref` in phx_close and
phx_error is the ref of the join it ends.
"""

from understudy.gateway.phoenix import JOIN, Frame, Malformed, Ref, checked, kind, parse, to_json

FIELDS = ("topic", "event", "payload")
"""What must be there; `ref` and `join_ref` are null where they are not."""


def decode(text: str) -> Frame:
    """Read one message. Raises Malformed."""
    said = parse(text)
    if not isinstance(said, dict):
        raise Malformed('an object {"topic", "event", "payload", "ref"}', kind(said))
    if missing := [field for field in FIELDS if field not in said]:
        raise Malformed('an object {"topic", "event", "payload", "ref"}', f"one without {', '.join(missing)}")
    ref, event = said.get("ref"), said["event"]
    join_ref = said.get("join_ref", ref if event == JOIN else None)
    return checked(Frame(join_ref, ref, said["topic"], event, said["payload"]), text)


def encode(join_ref: Ref, ref: Ref, topic: str, event: str, payload: bytes) -> bytes:
    """The text of a message whose `payload` is JSON text already. `join_ref` is not said."""
    return b'{"topic":%b,"event":%b,"ref":%b,"payload":%b}' % (to_json(topic), to_json(event), to_json(ref), payload)
