"""What site imports in an interpreter that a recorded program has started: takes part in the recording of its parent, and
makes way for the real sitecustomize. PYTHONPATH brings this folder here, and behind it an entry with what to do
(panopticon_rec.leader). Runs under any Python, those too that cannot be recorded."""

import sys


def take_order():
    """Takes this folder and the order out of sys.path. Returns the order's entry, or None."""
    folder = __file__.rpartition("/")[0]
    mark = folder + "/order-"
    orders = [entry for entry in sys.path if entry.startswith(mark)]
    sys.path[:] = [entry for entry in sys.path if entry != folder and not entry.startswith(mark)]
    for entry in [folder] + orders:
        sys.path_importer_cache.pop(entry, None)
    return orders[0] if orders else None


def follow(order):
    if sys.version_info >= (3, 11) and sys.implementation.name == "cpython":
        loaded = set(sys.modules)
        is_recorded = False
        package = __file__.rpartition("/follow/")[0]
        path = sys.path[:]
        sys.path[:] = [package.rpartition("/")[0]]      # the recorder that gave the order, and nothing of the program's
        try:
            import panopticon_rec
            is_recorded = panopticon_rec.follow(order)
        except Exception:               # the program runs, as it would
            pass
        if sys.path[0] not in path:
            sys.path_importer_cache.pop(sys.path[0], None)
        sys.path[:] = path
        for name in set(sys.modules) - loaded:
            if not is_recorded or name.partition(".")[0] != "panopticon_rec":
                del sys.modules[name]


order = take_order()
if order:
    follow(order)
del sys.modules["sitecustomize"]
import sitecustomize                    # if there is none, site takes that from here
