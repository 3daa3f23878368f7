"""The protobuf wire format, by field number: enough for the handshake and for linking a device."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = int | bytes
Fields = dict[int, Value]


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def field(number: int, value: int | bytes) -> bytes:
    """One encoded field."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def message(fields: Fields) -> bytes:
    """An encoded message: the fields in the order given."""
    return b"".join(field(number, value) for number, value in fields.items())


def parse(data: bytes) -> Fields:
    """The fields of an encoded message; of a repeated one the first.

    Raises:
        ValueError: a wire type that nobody sends here.
    """
    fields: Fields = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, at = _read_varint(data, at)
        elif wire_type in (_FIXED64, _FIXED32, _BYTES):
            length = {_FIXED64: 8, _FIXED32: 4}.get(wire_type)
            if length is None:
                length, at = _read_varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise ValueError(f"protobuf wire type {wire_type}")
        fields.setdefault(key >> 3, value)
    return fields


def blob(fields: Fields, number: int) -> bytes:
    """The field as bytes (or a nested message)."""
    value = fields[number]
    assert isinstance(value, bytes)
    return value


def integer(fields: Fields, number: int) -> int:
    """The field as a number; absent is 0, as protobuf has it."""
    value = fields.get(number, 0)
    assert isinstance(value, int)
    return value
