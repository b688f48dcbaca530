"""tokenize, there and back."""
import gc
import io
import textwrap
import tokenize

gc.disable()


def tokens(text):
    return list(tokenize.generate_tokens(io.StringIO(text).readline))


def broken(text):
    try:
        return len(tokens(text))
    except (tokenize.TokenError, IndentationError) as error:
        return type(error).__name__


def main():
    with open(textwrap.__file__, encoding="utf-8") as file:
        text = file.read()
    found = tokens(text)
    print(len(found), tokenize.untokenize(found) == text)
    print([broken(piece) for piece in ("(", "'''", "if x:\n    a\n  b\n", "x = 1\n", "def f(:\n")])


def warm_up():
    main()


warm_up()
main()
