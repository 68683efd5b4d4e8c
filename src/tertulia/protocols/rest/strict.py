"""Request bodies: JSON of exactly the declared shape, or a refusal that names the field.

The framework would convert (`"5"` to 5) and pass over what it does not know; here msgspec decodes the
bytes straight into the struct.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, ClassVar, Final

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
    return Refusal("invalid", f"{_AT.sub('', text)}."[:300], field=field[:128] or None)


def decode(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    """Raises Refusal `malformed` for what is no JSON in UTF-8, `invalid` for another shape."""
    try:
        # Also where the decoder would not look.
        data.decode()
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise refusal_of(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal("malformed", "The body is not JSON in UTF-8.") from None
    except RecursionError:
        raise Refusal("malformed", "The body nests too deep.") from None


class StrictJson(AbstractDTO[Any]):
    """A DTO of the framework that is nothing but a decoder."""

    decoder: ClassVar[msgspec.json.Decoder[Any]]

    def decode_bytes(self, value: bytes) -> Any:
        """The body as its struct.  Raises Refusal."""
        return decode(self.decoder, value)

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
        decoder = msgspec.json.Decoder(field_definition.raw)
        return type("StrictJson", (StrictJson,), {"decoder": decoder})
