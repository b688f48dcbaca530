"""The command line: python3 -m panopticon_rec [options] (FILE | -m MODULE | -c COMMAND | -) [ARGS...]

Also runs by the path of the package, `python3 PATH/panopticon_rec`, under an interpreter that does not find it.
"""

import sys

LOADED_BEFORE = list(sys.modules)


def import_command_line():
    """Return the module command_line of the package to which this file belongs."""
    if __package__:
        from panopticon_rec import command_line
        return command_line
    folder = __file__.rpartition("/panopticon_rec/")[0]
    is_known = folder in sys.path_importer_cache
    sys.path.insert(0, folder)
    from panopticon_rec import command_line
    sys.path.remove(folder)
    if not is_known:
        sys.path_importer_cache.pop(folder, None)
    return command_line


status = import_command_line().main(LOADED_BEFORE)
if status:                      # else -i goes on to its prompt
    raise SystemExit(status)    # no call of a C function, which would be in the capture
