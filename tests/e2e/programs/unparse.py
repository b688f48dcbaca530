"""ast.unparse and ast.NodeVisitor over modules of the standard library."""
import ast
import gc
import textwrap

gc.disable()


class Names(ast.NodeVisitor):
    def __init__(self):
        self.names = set()

    def visit_Name(self, node):
        self.names.add(node.id)
        self.generic_visit(node)


def there_and_back(path):
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    text = ast.unparse(tree)
    names = Names()
    names.visit(tree)
    return ast.dump(ast.parse(text)) == ast.dump(tree), len(text), len(names.names)


def main():
    print(there_and_back(textwrap.__file__))


def warm_up():
    main()


warm_up()
main()
