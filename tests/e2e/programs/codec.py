"""json in its pure Python parts: an encoder of nested generators, decoders with hooks."""
import gc
import json
import json.decoder
import json.encoder
import json.scanner

gc.disable()


class Odd:
    def __init__(self, value):
        self.value = value


class Encoder(json.JSONEncoder):
    def default(self, one):
        if isinstance(one, Odd):
            return {"odd": one.value}
        return super().default(one)


class Decoder(json.JSONDecoder):
    def __init__(self):
        super().__init__(object_pairs_hook=pairs)
        self.parse_object = json.decoder.JSONObject
        self.parse_array = json.decoder.JSONArray
        self.parse_string = json.decoder.py_scanstring
        self.scan_once = json.scanner.py_make_scanner(self)


def pairs(items):
    return dict(items)


def tree(depth):
    if depth == 0:
        return [1, 2.5, "text", None, True, Odd(depth)]
    return {"left": tree(depth - 1), "right": [tree(depth - 1)], "text": "a\"b\n" * depth}


def main():
    text = json.dumps(tree(7), indent=1, cls=Encoder)
    again = Decoder().decode(text)
    print(len(text), json.dumps(again, indent=1) == text)
    for broken in ("[1,", "{\"a\" 1}", "nul", "[1] 2", ""):
        try:
            Decoder().decode(broken)
        except json.JSONDecodeError as error:
            print(error)
    try:
        json.dumps(object(), cls=Encoder)
    except TypeError as error:
        print(error)


def warm_up():
    main()


warm_up()
main()
