"""Reads what has the Arrow PyCapsule stream interface, by ctypes alone: an independent reader of the three structures
of the Arrow C data and stream interfaces, written from their specification (Apache Arrow, CDataInterface.rst). It knows
the types that Panopticon's tables have."""

import ctypes
import struct


class Schema(ctypes.Structure):
    pass


class Array(ctypes.Structure):
    pass


class Stream(ctypes.Structure):
    pass


Schema._fields_ = [
    ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_void_p), ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("children", ctypes.POINTER(ctypes.POINTER(Schema))),
    ("dictionary", ctypes.POINTER(Schema)), ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(Schema))),
    ("private_data", ctypes.c_void_p)]
Array._fields_ = [
    ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64), ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(Array))), ("dictionary", ctypes.POINTER(Array)),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(Array))), ("private_data", ctypes.c_void_p)]
Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Array))),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(Stream))),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(Stream))), ("private_data", ctypes.c_void_p)]

NULLABLE = 2
get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def read_metadata(address):
    """The pairs of a schema's metadata: a count, and of each key and value the size and the bytes."""
    if not address:
        return {}
    at, found = address + 4, {}

    def take():
        nonlocal at
        size, = struct.unpack("=i", ctypes.string_at(at, 4))
        text = ctypes.string_at(at + 4, size).decode()
        at += 4 + size
        return text

    for _ in range(struct.unpack("=i", ctypes.string_at(address, 4))[0]):
        key = take()
        found[key] = take()
    return found


class Field:
    """A column of a schema: name, format, dictionary (the format of what an index stands for, or None), is_nullable,
    metadata (dict)."""

    def __init__(self, schema):
        assert schema.n_children == 0 and schema.release
        self.name, self.format = schema.name.decode(), schema.format.decode()
        self.dictionary = schema.dictionary.contents.format.decode() if schema.dictionary else None
        self.is_nullable = bool(schema.flags & NULLABLE)
        self.metadata = read_metadata(schema.metadata)


def read_schema(schema):
    """Return the fields and the metadata of a table's schema, and release it."""
    assert schema.format == b"+s"
    fields = [Field(schema.children[i].contents) for i in range(schema.n_children)]
    metadata = read_metadata(schema.metadata)
    schema.release(ctypes.byref(schema))
    assert not schema.release
    return fields, metadata


def schema_of(table):
    """Return what read_schema() does, of the schema that the table gives without a stream."""
    capsule = table.__arrow_c_schema__()
    return read_schema(Schema.from_address(get_pointer(capsule, b"arrow_schema")))


def bits(address, n):
    """Return the first n bits, the least significant one of a byte first."""
    data = ctypes.string_at(address, (n + 7) // 8)
    return [bool(data[i // 8] >> i % 8 & 1) for i in range(n)]


def read_texts(array):
    """Return the texts of an array of UTF-8."""
    assert array.n_buffers == 3 and array.offset == 0
    offsets = struct.unpack(f"={array.length + 1}i", ctypes.string_at(array.buffers[1], 4 * (array.length + 1)))
    data = ctypes.string_at(array.buffers[2], offsets[-1])
    assert offsets[0] == 0 and list(offsets) == sorted(offsets)
    return [data[begin:end].decode() for begin, end in zip(offsets, offsets[1:])]


def read_column(array, field):
    """Return the values of a column, None for a null."""
    n = array.length
    assert array.n_buffers == 2 + (field.format == "u") and array.offset == 0 and array.n_children == 0
    assert array.release and all((array.buffers[i] or 0) % 64 == 0 for i in range(array.n_buffers))
    if field.format == "u":
        values = read_texts(array)
    elif field.format == "b":
        values = bits(array.buffers[1], n)
    else:
        code, size = {"l": ("q", 8), "i": ("i", 4), "g": ("d", 8)}[field.format]
        values = list(struct.unpack(f"={n}{code}", ctypes.string_at(array.buffers[1], n * size)))
    valid = bits(array.buffers[0], n) if array.buffers[0] else [True] * n
    assert array.null_count == valid.count(False) and (field.is_nullable or all(valid))
    if field.dictionary:
        assert field.dictionary == "u"
        texts = read_texts(array.dictionary.contents)
        assert len(set(texts)) == len(texts)
        values = [texts[value] if is_valid else None for value, is_valid in zip(values, valid)]
    return [value if is_valid else None for value, is_valid in zip(values, valid)]


class Reader:
    """Reads the stream of a table, or of a capsule of one. fields, metadata: of its schema."""

    def __init__(self, table):
        self.capsule = table.__arrow_c_stream__() if hasattr(table, "__arrow_c_stream__") else table
        self.stream = Stream.from_address(get_pointer(self.capsule, b"arrow_array_stream"))
        schema = Schema()
        status = self.stream.get_schema(ctypes.byref(self.stream), ctypes.byref(schema))
        assert status == 0, status
        self.fields, self.metadata = read_schema(schema)

    def next_array(self):
        """Return the next array, which the caller releases by release(); None at the end. Raises OSError."""
        array = Array()
        status = self.stream.get_next(ctypes.byref(self.stream), ctypes.byref(array))
        if status:
            raise OSError(status, self.stream.get_last_error(ctypes.byref(self.stream)).decode())
        return array if array.release else None

    def columns_of(self, array):
        """Return dict of a column's name to its values."""
        assert array.n_buffers == 1 and array.null_count == 0 and array.n_children == len(self.fields)
        children = [array.children[i].contents for i in range(array.n_children)]
        assert all(child.length == array.length for child in children)
        return {field.name: read_column(child, field) for child, field in zip(children, self.fields)}

    def batches(self):
        """Yield the columns of each batch."""
        while (array := self.next_array()) is not None:
            columns = self.columns_of(array)
            release(array)
            yield columns

    def release(self):
        """Release the stream, as a consumer that stops early."""
        self.stream.release(ctypes.byref(self.stream))
        assert not self.stream.release


def release(array):
    array.release(ctypes.byref(array))
    assert not array.release


def rows_of(table):
    """Return all rows of a table, list of dict of a column's name to its value."""
    return [dict(zip(columns, values)) for columns in Reader(table).batches() for values in zip(*columns.values())]
