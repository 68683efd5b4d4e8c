"""Request bodies: JSON of exactly the declared shape, or a refusal that names the field.

The framework would convert (`"5"` to 5) and pass over what it does not know; here msgspec decodes the
bytes straight into the struct.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, ClassVar, Final, cast

import msgspec
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.plugins import SerializationPlugin
from litestar.typing import FieldDefinition

from tertulia.domain.errors import Refusal

_AT: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_NAMED: Final = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")


def refusal_of(error: msgspec.ValidationError) -> Refusal:
    """What a shape that does not fit is answered with."""
    text = str(error)
    path, named = _AT.search(text), _NAMED.search(text)
    parts = (path["path"].replace("[...]", "") if path else "", named["name"] if named else "")
    field = ".".join(part for part in parts if part)
    return Refusal("malformed", f"{_AT.sub('', text)}."[:300], field=field[:128] or None)


class StrictDecoder:
    """JSON → a type, and nothing that is not of it."""

    def __init__(self, shape: Any) -> None:
        self._shape = shape
        self._decode = msgspec.json.Decoder(shape).decode

    def __call__(self, data: bytes) -> Any:
        """Raises Refusal `malformed`, with the field where there is one."""
        try:
            # Also where the decoder would not look.
            data.decode()
            return self._decode(data)
        except msgspec.ValidationError as error:
            return self._again(data, error)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refusal("malformed", "The body is not JSON in UTF-8.") from None
        except RecursionError:
            raise Refusal("malformed", "The body nests too deep.") from None

    def _again(self, data: bytes, error: msgspec.ValidationError) -> Any:
        """JSON has one kind of number, and JSON Schema calls 1.0 an integer (2020-12 core §4.2.3)."""
        if ".0" not in (text := data.decode()) and "e" not in text and "E" not in text:
            raise refusal_of(error) from None
        try:
            return msgspec.convert(_whole(msgspec.json.decode(data)), self._shape)
        except msgspec.ValidationError as second:
            raise refusal_of(second) from None
        except RecursionError:
            raise Refusal("malformed", "The body nests too deep.") from None


def _whole(value: Any) -> Any:
    """Whole numbers as integers, wherever they are in a JSON value."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value
    if isinstance(value, list):
        return [_whole(one) for one in cast(list[Any], value)]
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in cast(dict[str, Any], value).items()}
    return value


class StrictJson(AbstractDTO[Any]):
    """A DTO of the framework that is nothing but a decoder."""

    decoder: ClassVar[StrictDecoder]

    def decode_bytes(self, value: bytes) -> Any:
        """The body as its struct.  Raises Refusal."""
        return self.decoder(value)

    @classmethod
    def create_for_field_definition(cls, *_: Any, **__: Any) -> None:
        """Nothing to prepare."""

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        """Answers are encoded as they are."""
        return False

    @classmethod
    def create_openapi_schema(cls, *_: Any, **__: Any) -> Schema:
        """See `openapi`, which puts the struct's own schema here."""
        return Schema(type=OpenAPIType.OBJECT)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """None: nothing is transferred field by field."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """See `generate_field_definitions`."""
        return False


class StrictBodies(SerializationPlugin):
    """Has every struct that a handler takes as `data` decoded by `StrictJson`."""

    def supports_type(self, field_definition: FieldDefinition) -> bool:
        """Structs."""
        return field_definition.is_subclass_of(msgspec.Struct)

    def create_dto_for_type(self, field_definition: FieldDefinition) -> type[AbstractDTO[Any]]:
        """A decoder of the whole annotation, a tagged union included; none for an answer."""
        if field_definition.name != "data":
            return StrictJson
        decoder = StrictDecoder(field_definition.raw)
        return type("StrictJson", (StrictJson,), {"decoder": decoder})
