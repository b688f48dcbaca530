"""What the Python of a page may use without defining it: the program of the reader."""


def work():
    return sum(step() for _ in range(100))


def step():
    return 1
