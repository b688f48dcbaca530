"""logging: a tree of loggers, filters, formatters, an exception's text."""
import gc
import io
import logging

gc.disable()


class Even(logging.Filter):
    def filter(self, record):
        return record.args[0] % 2 == 0


def fail(n):
    if n == 0:
        raise LookupError("at the bottom")
    fail(n - 1)


def main():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(funcName)s %(message)s"))
    handler.addFilter(Even())
    top = logging.getLogger("top")
    top.addHandler(handler)
    top.setLevel(logging.INFO)
    top.propagate = False
    names = ["top.a", "top.a.b", "top.c"]
    for k in range(300):
        logger = logging.getLogger(names[k % 3])
        logger.info("number %d", k)
        logger.debug("unseen %d", k)
        if k % 100 == 0:
            try:
                fail(5)
            except LookupError:
                logger.exception("failed %d", k)
    print(len(stream.getvalue().splitlines()))


def warm_up():
    main()


warm_up()
main()
