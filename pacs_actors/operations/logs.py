"""Logs: one JSON object a line on standard error: an event name and facts (UIDs, never a patient's name)."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Final

import msgspec

_LOGGER: Final = logging.getLogger("pacs")
_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


class JsonLines(logging.Formatter):
    """CR and LF cannot break a line: JSON escapes them."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "who": self.who,
            "event": record.getMessage(),
        }
        facts.update(getattr(record, "facts", {}))
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(facts).decode()


def configure(level: str, who: str) -> None:
    """Send every log line to standard error; ``who`` names the process (parent, worker 0…)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(who))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("asyncio", "hypercorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """From now on."""
    logging.getLogger().setLevel(level.upper())


def event(name: str, /, **facts: Any) -> None:
    _LOGGER.info(name, extra={"facts": facts})


def debug(name: str, /, **facts: Any) -> None:
    if _LOGGER.isEnabledFor(logging.DEBUG):
        _LOGGER.debug(name, extra={"facts": facts})


def warning(name: str, /, **facts: Any) -> None:
    _LOGGER.warning(name, extra={"facts": facts})


def error(name: str, /, exception: BaseException | None = None, **facts: Any) -> None:
    _LOGGER.error(name, exc_info=exception, extra={"facts": facts})
