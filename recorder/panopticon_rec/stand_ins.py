"""What stands for mark, span, counter, flow and watch where the recorder cannot be loaded. They do nothing."""


def mark(name, /, **values):
    """Do nothing: the recorder cannot be loaded, as panopticon_rec.UNUSABLE says."""


counter = mark


def flow(id, /):
    """Do nothing, as mark()."""


class span:
    """Does nothing, as mark()."""

    def __init__(self, name, /, **values):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def __call__(self, function):
        return function


class watch:
    """Does nothing, as mark()."""

    _is_on = False

    def __init__(self, name, slower_than=None, *, keep="2s", every="1min", at_most=100, on_error=False, id=None):
        self.name, self.id = name, id

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False

    def __call__(self, function):
        return function

    def _renew(self):
        return self
