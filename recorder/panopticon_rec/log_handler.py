"""Log records on the timeline: a handler for the standard library's logging.

    logging.getLogger().addHandler(panopticon_rec.log_handler.Handler())
"""

import logging

from . import mark


class Handler(logging.Handler):
    """Reports each log record as an instant `log` with its level, logger and message. Does nothing where nothing is
    recorded, except that logging formats the message."""

    def emit(self, record):
        try:
            mark("log", level=record.levelname, logger=record.name, message=self.format(record))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)
