"""A spreadsheet whose formulas are parsed and computed again and again: some millions of calls of short functions, in
phases, with a save now and then that takes longer."""

import json
import time

ROWS, COLUMNS, REVISIONS = 40, 8, 12


def is_digit(character):
    return "0" <= character <= "9"


def is_letter(character):
    return "A" <= character <= "Z"


class Scanner:
    def __init__(self, text):
        self.text, self.at = text, 0

    def peek(self):
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self):
        self.at += 1
        return self.text[self.at - 1]

    def number(self):
        digits = ""
        while self.peek() and is_digit(self.peek()):
            digits += self.take()
        return int(digits)


def parse_sum(scanner):
    parts = [parse_product(scanner)]
    while scanner.peek() == "+":
        scanner.take()
        parts.append(parse_product(scanner))
    return ("sum", parts)


def parse_product(scanner):
    parts = [parse_atom(scanner)]
    while scanner.peek() == "*":
        scanner.take()
        parts.append(parse_atom(scanner))
    return ("product", parts)


def parse_atom(scanner):
    if is_letter(scanner.peek()):
        column = ord(scanner.take()) - ord("A")
        return ("cell", (scanner.number(), column))
    return ("number", scanner.number())


def modulo(value):
    return value % 1_000_003


class Sheet:
    def __init__(self):
        self.formulas, self.values = {}, {}

    def value(self, place):
        return self.values.get(place, 1)

    def evaluate(self, node):
        kind, content = node
        if kind == "number":
            return content
        if kind == "cell":
            return self.value(content)
        results = [self.evaluate(part) for part in content]
        total = results[0]
        for result in results[1:]:
            total = modulo(total + result if kind == "sum" else total * result)
        return total


def load(sheet, revision):
    for row in range(ROWS):
        for column in range(COLUMNS):
            text = f"{revision}*A{row}+B{(row + 1) % ROWS}*C{row}+{row}*{column}+{chr(65 + column)}{row}*7"
            sheet.formulas[row, column] = parse_sum(Scanner(text))


def recompute(sheet, rounds):
    for _ in range(rounds):
        for place, formula in sheet.formulas.items():
            sheet.values[place] = sheet.evaluate(formula)


def save(sheet):
    time.sleep(0.03)
    return len(json.dumps(sorted(sheet.values.values())))


def main():
    sheet = Sheet()
    for revision in range(REVISIONS):
        load(sheet, revision)
        recompute(sheet, 30)
        save(sheet)
    print(sum(sheet.values.values()))


main()
