"""Tables read by the packages that users have: the tests of tests/e2e/test_tables.py that need them."""

from test_tables import Consumers

__all__ = ["Consumers"]
