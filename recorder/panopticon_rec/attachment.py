"""What `panopticon attach` and `panopticon detach` (command/attach.py) have a running process do.

They call these functions in the process, in its main thread as a rule. The recordings that they have begun are kept here.
The recorder never shows its own functions, so nothing of this is in a capture.
"""

import os

from . import Recorder

recorders = {}          # by the folder of the command that began it: (id of the process, Recorder)


def start(folder, path, keywords):
    """Begin to record into a capture at path. folder: of the command, the recording's name. Returns the path that was
    taken. Raises what Recorder and its start() raise. The handler of a signal may interrupt it by an exception: then it is
    called once more."""
    if folder not in recorders:
        recorders[folder] = os.getpid(), Recorder(path, **keywords)
    recorder = recorders[folder][1]
    if not recorder._is_running:
        try:
            recorder.start()
        finally:
            if not recorder._is_running:
                del recorders[folder]
    return recorder.path


def stop(folder=None):
    """End the recording that the command of this folder began; None: all. Each command finds the file `stopped` in its
    folder, when it still waits. Returns how many were ended. Raises OSError when a capture could not be written to its
    end: what was recorded until then is kept. Like start(), it is called once more when it was interrupted."""
    failure, n_stopped = None, 0
    for name in [folder] if folder in recorders else list(recorders) if folder is None else []:
        pid, recorder = recorders[name]
        try:
            recorded = recorder.stop()
            if pid == os.getpid():      # a forked child has ended its own part
                write(f"{name}/stopped", " ".join(map(str, recorded)))
            n_stopped += 1
        except RuntimeError:            # the program is not recorded any more
            pass
        except OSError as error:
            failure = error
        del recorders[name]
    if failure:
        raise failure
    return n_stopped


def write(path, text):
    """Make a file with this text, complete from the first moment on, if its folder is still there."""
    try:
        number = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return
    try:
        os.write(number, os.fsencode(text))
    finally:
        os.close(number)
    os.rename(f"{path}.new", path)
