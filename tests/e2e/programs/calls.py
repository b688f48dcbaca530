"""Plain calls of every kind that the interpreter has a short cut for, and calls that C code makes."""
import functools
import gc
import re

gc.disable()


class Table:
    """Calls through slots and descriptors."""

    instances = 0

    def __init__(self, *values, scale=1):
        self.values, self.scale = list(values), scale

    def __getitem__(self, k):
        return self.values[k % len(self.values)] * self.scale

    def __setitem__(self, k, value):
        self.values[k] = value

    def __getattr__(self, name):
        if name.startswith("made_"):
            return len(name)
        raise AttributeError(name)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def __contains__(self, value):
        return any(value == one for one in self.values)

    def __eq__(self, other):
        return self.values == other.values

    def __lt__(self, other):
        return self.scale < other.scale

    def __add__(self, other):
        return Table(*self.values, scale=self.scale + other.scale)

    def __call__(self, *values, **named):
        return len(values) + len(named)

    def __bool__(self):
        return bool(self.values)

    def __hash__(self):
        return self.scale

    def __del__(self):
        Table.instances -= 1

    def __new__(cls, *values, **named):
        cls.instances += 1
        return super().__new__(cls)

    def __enter__(self):
        return self

    def __exit__(self, *details):
        return True

    @property
    def size(self):
        return len(self)

    @classmethod
    def of(cls, n):
        return cls(*range(n))

    @staticmethod
    def twice(x):
        return x * 2


class Meta(type):
    def __call__(cls, *values):
        return super().__call__(*values)

    def __instancecheck__(cls, one):
        return True

    def __getattribute__(cls, name):
        return super().__getattribute__(name)


class Made(metaclass=Meta):
    def __init_subclass__(cls, **named):
        super().__init_subclass__(**named)


def defaults(a, b=2, *rest, c=3, **named):
    return a + b + c + len(rest) + len(named)


def fails(depth):
    if depth == 0:
        return {}["no"]
    return fails(depth - 1)


def recovers(depth):
    try:
        return fails(depth)
    except KeyError:
        return depth
    finally:
        defaults(1)


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@functools.lru_cache(None)
def cached(n):
    return n if n < 2 else cached(n - 1) + cached(n - 2)


@functools.singledispatch
def kind(one):
    return "any"


@kind.register
def _(one: int):
    return "int"


def slots(table, other):
    total = 0
    for k in range(600):
        table[k % 3] = k
        total += table[k] + table.size + len(table) + table.made_up + table(1, 2, x=3) + Table.twice(k)
        total += (table == other) + (table < other) + (k in table) + bool(table) + hash(table)
    return total


def from_c():
    total = sum(map(lambda x: x + 1, range(500)))
    total += len(sorted(range(300), key=lambda x: -x)) + functools.reduce(lambda a, b: a + b, range(300))
    total += len(re.sub("[a-m]", lambda found: found.group().upper(), "the quick brown fox" * 30))
    total += max(filter(lambda x: x % 7 == 0, range(300))) + len(list(iter(iter(range(300)).__next__, 299)))
    total += sum(functools.partial(defaults, 1, c=k)() for k in range(300))
    return total


def main():
    print(slots(Table(1, 2, 3), Table(4, scale=2)), from_c(), fib(17), cached(200), kind(1), kind("x"))
    print([recovers(depth) for depth in range(40)][-1])
    for k in range(300):
        with Table.of(k % 5) as table:
            table + table
            {}["no"]
        defaults(*range(k % 4 + 1), **{"x": 1})
        isinstance(k, Made)
    for _ in range(20):
        type("Sub", (Made,), {})
        Made()
    print(Table.instances)


def warm_up():
    main()


warm_up()
main()
