"""How log lines are written: structured, one event a line, no message text.

Tracebacks show lines of code, never the values of variables: those hold what people wrote, and secrets.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any, TextIO

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_up_logs(form: str, level: str, stream: TextIO | None = None) -> None:
    """Route structlog and the libraries' logging (uvicorn's too) to one stream (standard error unless
    told otherwise) in one form (`text` or `json`)."""
    out: TextIO = stream if stream is not None else sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any]
    if form == "json":
        ending = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        ending = [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def log_loop_errors(loop: asyncio.AbstractEventLoop) -> None:
    """What nobody awaited is logged without the arguments of the callback, which the loop's own handler
    would print."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        structlog.get_logger("tertulia").error(
            "loop.exception",
            what=str(context.get("message", "")).partition("(")[0].partition("<")[0].strip(),
            exc_info=context.get("exception"),
        )

    loop.set_exception_handler(handle)
