"""The user of a process, with whose rights the command acts where he may have put anything, such as symbolic links.

So root makes, writes and removes for him what he could himself, and nothing else. The kernel decides that in each call, so
that no moment lies between a check and an act.
"""

import contextlib
import os


class Owner:
    """user, group, groups: of a process."""

    def __init__(self, user, group, groups):
        self.user, self._group, self._groups = user, group, groups

    @contextlib.contextmanager
    def rights(self):
        """Have the command, if it is root, act as that user within the `with` statement. Raises OSError when it may not."""
        if os.geteuid() == self.user:
            yield
            return
        user, groups, group = os.geteuid(), os.getgroups(), os.getegid()
        try:
            os.setgroups(self._groups)
            os.setegid(self._group)
            os.seteuid(self.user)
            yield
        finally:
            os.seteuid(user)
            os.setegid(group)
            if os.getgroups() != groups:
                os.setgroups(groups)

    def of_child(self):
        """Return the keywords by which subprocess runs a program as that user."""
        return {} if os.geteuid() == self.user else {
            "user": self.user, "group": self._group, "extra_groups": self._groups}
