"""The one port that `panopticon view` may use: a test that does so has it for itself.

Other runs of the tests may go on at the same time, also in a chroot of the same machine. They share no file, but the
abstract names of sockets (unix(7)).
"""

import socket
import time

NAME = "\0panopticon tests: 127.0.0.1:9001"


def hold(test):
    """Wait until no other test has the port, and keep it until the test or class has ended. test: whose cleanup functions
    are used."""
    holder = socket.socket(socket.AF_UNIX)
    add = test.addClassCleanup if isinstance(test, type) else test.addCleanup
    add(holder.close)
    while True:
        try:
            return holder.bind(NAME)
        except OSError:
            time.sleep(0.1)
