"""difflib: generators of generators."""
import difflib
import gc

gc.disable()


def lines(seed, n):
    for k in range(n):
        seed = (seed * 1103515245 + 12345) % 2 ** 31
        yield f"line {k} {'x' * (seed % 7)} {seed % 5}\n"


def main():
    one, two = list(lines(1, 60)), list(lines(2, 70))
    print("".join(difflib.unified_diff(one, two))[:300])
    print(len("".join(difflib.ndiff(one[:20], two[:20]))))
    print(difflib.get_close_matches("appel", ["ape", "apple", "peach", "puppy"]))
    print(len(difflib.HtmlDiff().make_table(one[:12], two[:12])))


def warm_up():
    main()


warm_up()
main()
