"""Joins the recording of the parent process, and then imports the real sitecustomize. The module site imports this file
in an interpreter that a recorded program has started, because PYTHONPATH names this folder. After it stands an entry
that names the capture (panopticon_rec.child_hook). Runs under any Python, also one that cannot be recorded."""

import sys


def take_hook_entry():
    """Take this folder and the entry of the capture out of sys.path. Returns the entry, or None."""
    folder = __file__.rpartition("/")[0]
    prefix = folder + "/order-"
    entries = [entry for entry in sys.path if entry.startswith(prefix)]
    sys.path[:] = [entry for entry in sys.path if entry != folder and not entry.startswith(prefix)]
    for entry in [folder] + entries:
        sys.path_importer_cache.pop(entry, None)
    return entries[0] if entries else None


def join_parent(entry):
    if sys.version_info >= (3, 11) and sys.implementation.name == "cpython":
        loaded = set(sys.modules)
        is_recorded = False
        package = __file__.rpartition("/follow/")[0]
        path = sys.path[:]
        sys.path[:] = [package.rpartition("/")[0]]      # the recorder of the parent, and nothing of the program's
        try:
            import panopticon_rec
            is_recorded = panopticon_rec.join_parent(entry)
        except Exception:               # the program runs as it does without
            pass
        if sys.path[0] not in path:
            sys.path_importer_cache.pop(sys.path[0], None)
        sys.path[:] = path
        for name in set(sys.modules) - loaded:
            if not is_recorded or name.partition(".")[0] != "panopticon_rec":
                del sys.modules[name]


entry = take_hook_entry()
if entry:
    join_parent(entry)
del sys.modules["sitecustomize"]
import sitecustomize                    # when there is none, site handles the ImportError
