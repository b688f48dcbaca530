"""Code made by the hundred with exec, compile and eval: names and lines of functions that soon are gone."""
import gc

gc.disable()

SOURCE = """
def make_{k}(n):
    def inner_{k}(x):
        return [y + x for y in range(n)]
    return inner_{k}

class Class_{k}:
    @property
    def value(self):
        return sum(self.each())

    def each(self):
        yield from (k for k in range({k} % 5))
"""


def build(k):
    space = {"__name__": f"made_{k}"}
    exec(compile("\n" * (k % 7) + SOURCE.format(k=k), f"<made {k}>", "exec"), space)
    return space[f"make_{k}"](3)(k), space[f"Class_{k}"]().value


def nameless(k):
    space = {}
    exec("def f(x):\n    return x + 1", space)
    return space["f"](k)


def odd_names():
    space = {"__name__": "odd \"names\"\n\t\u20ac \U0001f642"}
    exec("def größe(): return 1\nf = lambda: größe()", space)
    code = compile("def a(): return 2", "file \"with\" \\ odd\n\U0001f642 name", "exec")
    exec(code, space)
    return space["f"]() + space["a"]()


def main():
    total = 0
    for k in range(600):
        values, value = build(k)
        total += sum(values) + value + nameless(k) + eval("(lambda z: z * 2)(k)", {"k": k, "__name__": "evaluated"})
    for _ in range(10):
        total += odd_names()
    print(total)


def warm_up():
    main()


warm_up()
main()
