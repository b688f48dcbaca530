"""The server of the reader, which has nothing to do."""

from sample import work

work()
