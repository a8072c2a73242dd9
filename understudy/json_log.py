"""The log as JSON, for whoever collects it: one object a line, on standard error.

    {"time": "2026-03-01T12:00:00.123+00:00", "level": "error", "node": "stage-1", "incarnation": 1772366400000,
     "logger": "understudy.actors", "actor": "room/lobby", "message": "...", "error": {"type", "message", "trace"}}

`actor` and `error` stand there where there is one. What is given as `extra` stands beside them, under its own names.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from understudy.actors import speaker
from understudy.secrets import hidden


class JsonHandler(logging.StreamHandler[Any]):
    """Writes each record as a line of JSON. `incarnation` is set once the node has one."""

    def __init__(self, node: str) -> None:
        super().__init__(sys.stderr)
        self._form = _Form(node)
        self.setFormatter(self._form)
        self.addFilter(_said_by)

    def identify(self, incarnation: int) -> None:
        """Which life of the node it is."""
        self._form.incarnation = incarnation


def _said_by(record: logging.LogRecord) -> bool:
    """Note who speaks: here, where the record is made."""
    if "actor" not in record.__dict__ and (cell := speaker()) is not None:
        record.actor = cell.name or repr(cell)
    return True


class _Form(JsonFormatter):
    def __init__(self, node: str) -> None:
        super().__init__(json_default=str, json_ensure_ascii=False)
        self.node = node
        self.incarnation: int | None = None

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """The fields of every line first, in the same order."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname.lower()
        log_data["node"] = self.node
        if self.incarnation is not None:
            log_data["incarnation"] = self.incarnation
        log_data["logger"] = record.name
        log_data["message"] = ""
        super().add_fields(log_data, record, message_dict)
        log_data.pop("exc_info", None)
        message = record.getMessage()
        if isinstance(crash := log_data.pop("crash", None), dict):
            message = message.partition("\n")[0]  # what stands below is in the crash
            log_data["actor"] = crash["name"] or crash["ref"]
            log_data["error"] = crash.pop("reason")
            log_data["crash"] = crash
        elif record.exc_info and (error := record.exc_info[1]) is not None:
            log_data["error"] = {
                "type": type(error).__qualname__,
                "message": str(error),
                "trace": [list(frame)[:3] for frame in traceback.extract_tb(error.__traceback__)],
            }
        log_data["message"] = message

    def format(self, record: logging.LogRecord) -> str:
        """The line, without what must not be shown."""
        return hidden(super().format(record))


def log_as_json(node: str, *, level: int) -> JsonHandler:
    """Show what this process reports from `level` up, everybody's, as JSON."""
    logging.raiseExceptions = False
    root = logging.getLogger()
    handler = JsonHandler(node)
    root.handlers[:] = [handler]
    root.setLevel(level)
    return handler
