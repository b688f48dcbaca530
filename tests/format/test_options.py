"""The options of both tools: what stands in several places says the same."""

import importlib.util
import re
import unittest

import conversion
