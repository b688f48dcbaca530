"""Tables read by the packages that users have: the tests of tests/e2e/ that need them."""

from test_queries import Parquet, Sql
from test_tables import Consumers

__all__ = ["Consumers", "Parquet", "Sql"]
