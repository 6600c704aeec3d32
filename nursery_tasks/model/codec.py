"""Bytes to data and back: JSON by default, msgpack by configuration.

Both formats hold one map at the top, so the first byte tells them apart (`{` or white space for JSON, 0x80 and above for a
msgpack map), and programs with different settings understand each other. Nothing here can run code: there is no pickle, and
no class is looked up by a name from data.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeVar, cast

import msgspec
import msgspec.inspect

from ..errors import InvalidOptions, NotSerializable
from .headers import check_headers, lowered
from .message import VERSION, Message
from .outcome import Outcome
from .plain import base_of, find_doubled_keys, from_base, to_base
from .unions import Either, workable

Format = Literal["json", "msgpack"]
FORMATS: Final = ("json", "msgpack")

_MSGPACK: Final = b"\x80"  # from here on, the first byte of a map
_NOT_FINITE = re.compile(
    rb"\xcb[\x7f\xff][\xf0-\xff]"
)  # how the floats that JSON lacks begin in msgpack; text may look like it


# msgspec encodes subclasses of these itself; of the others that it knows (int, str, datetime, ...) only the very class
_WITH_SUBCLASSES: Final = (list, tuple, dict, set, frozenset, Enum, msgspec.Struct)

T = TypeVar("T")


class Undecodable(ValueError):
    """The bytes are not a message of this version; the text says why."""


@dataclass(frozen=True, slots=True)
class CustomType:
    """How a class of the user's travels: `encode` makes plain data of it, `decode` the reverse."""

    cls: type[Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Codec:
    """Encodes and decodes for one app.

    Args:
        form: What is written; both are read.
        types: Classes that msgspec does not know.

    Attributes:
        nothing: What None becomes.
    """

    def __init__(self, form: Format = "json", types: tuple[CustomType, ...] = ()) -> None:
        if form not in FORMATS:
            raise InvalidOptions("codec", form, f"one of {', '.join(FORMATS)}")
        self.form: Format = form
        self._types = {check_custom(custom).cls: custom for custom in types}
        module = msgspec.json if form == "json" else msgspec.msgpack
        self.nothing: bytes = module.encode(None)
        self._encode: Callable[[object], bytes] = module.Encoder(enc_hook=self._to_plain).encode
        self._as_json: Callable[[object], bytes] = msgspec.json.Encoder(enc_hook=self._to_plain).encode
        self._to_fixed = msgspec.json.Encoder(enc_hook=self._to_plain, order="deterministic").encode
        self._to_msgpack = msgspec.msgpack.Encoder(enc_hook=self._to_plain).encode
        self._from_json = msgspec.json.Decoder(Message).decode
        self._from_msgpack = msgspec.msgpack.Decoder(Message).decode

    def encode(self, what: str, value: object) -> bytes:
        """Encode *value*; *what* names it in the error.

        Raises:
            NotSerializable: Something inside cannot travel.
        """
        try:
            body = self._encode(value)
        except Exception as error:  # a custom type's encoder is user code and may raise anything
            raise NotSerializable(what, str(error) or type(error).__name__) from None
        if self.form == "json":
            self._check_nothing_is_lost(what, value, body)
        return body

    def fingerprint(self, what: str, value: object) -> bytes:
        """Encode *value* so that equal values give equal bytes, in any process and with any setting.

        Raises:
            NotSerializable: Something inside cannot travel.
        """
        try:
            return self._to_fixed(value)
        except Exception as error:
            raise NotSerializable(what, str(error) or type(error).__name__) from None

    def plain(self, value: object) -> Any:
        """Return *value* as JSON would bring it to the other side: plain data that can be encoded again in any format.

        Raises:
            NotSerializable: Something inside cannot travel.
        """
        try:
            return msgspec.json.decode(self._as_json(value))
        except Exception as error:
            raise NotSerializable("a value", str(error) or type(error).__name__) from None

    def to_json(self, what: str, value: object) -> bytes:
        """Encode *value* as JSON, whatever this app writes; *what* names it in the error.

        Raises:
            NotSerializable: Something inside cannot travel.
        """
        try:
            body = self._as_json(value)
        except Exception as error:
            raise NotSerializable(what, str(error) or type(error).__name__) from None
        self._check_nothing_is_lost(what, value, body)
        return body

    def _check_nothing_is_lost(self, what: str, value: object, body: bytes) -> None:
        """Refuse what JSON would take, and bring as something else."""
        if b"null" in body and self._has_lost_a_number(value):
            raise NotSerializable(what, "NaN and infinity would arrive as null in JSON; App(codec='msgpack') can carry them")
        if body.count(b"{") <= (type(value) is Message):
            return  # there is no dict in it, as in most
        doubled = find_doubled_keys(value, self._as_json)
        if doubled is not None:
            raise NotSerializable(what, f"in JSON all keys are texts, and the keys {doubled} of one dict would be the same")

    def _has_lost_a_number(self, value: object) -> bool:
        """Say whether one of the nulls was NaN or an infinity; the look at msgpack's bytes spares almost all the long way."""
        try:
            if not _NOT_FINITE.search(self._to_msgpack(value)):
                return False
        except Exception:  # such as an integer of more than 64 bits, which only JSON takes
            pass
        return _is_or_holds_not_finite(msgspec.to_builtins(value, enc_hook=self._to_plain, str_keys=True))

    def decode_message(self, body: bytes) -> Message:
        """Decode one job.

        Raises:
            Undecodable: It is no message, or one of a newer major version.
        """
        try:
            message = self._from_json(body) if body[:1] < _MSGPACK else self._from_msgpack(body)  # see `sniff`
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            version = _version_of(body)  # fields may have other types in a newer one
            raise Undecodable(_too_new(version) if version > VERSION else f"not a message: {error}") from None
        if message.v > VERSION:
            raise Undecodable(_too_new(message.v))
        return _with_checked_headers(message) if message.headers else message

    def decode_value(self, body: bytes | msgspec.Raw, form: Format, wanted: Any = Any) -> Any:
        """Decode a result into the type *wanted*.

        Raises:
            msgspec.ValidationError: The value has another type.
        """
        module = msgspec.json if form == "json" else msgspec.msgpack
        try:
            return module.decode(body, type=wanted, dec_hook=self._from_plain)
        except TypeError:  # a type that msgspec does not take as it is; a hook's own comes out as a ValidationError
            if (made := workable(wanted)) is wanted:
                raise
            return module.decode(body, type=made, dec_hook=self._from_plain)

    def convert(self, value: object, wanted: Any) -> Any:
        """Turn plain data (an argument as it was decoded) into the type *wanted*.

        Raises:
            msgspec.ValidationError: The value does not fit.
        """
        # As JSON has brought it: all keys are texts, whatever they were.
        try:
            return msgspec.convert(value, wanted, dec_hook=self._from_plain, str_keys=True)
        except TypeError:
            if (made := workable(wanted)) is wanted:
                raise
            return msgspec.convert(value, made, dec_hook=self._from_plain, str_keys=True)

    def _to_plain(self, value: Any) -> Any:
        cls: Any = value.__class__
        custom = _nearest(self._types, cls)
        if custom is not None:
            return custom.encode(value)
        dump = getattr(value, "model_dump", None)  # a pydantic model, without importing pydantic
        if dump is not None and hasattr(cls, "model_validate"):
            return dump(mode="json")
        plain = to_base(value)
        if plain is not None:
            return plain
        raise TypeError(f"no encoding for {cls.__qualname__}")

    def _from_plain(self, wanted: type[Any], value: Any) -> Any:
        if wanted is object:  # says as little as Any
            return value
        if isinstance(wanted, Either):
            return self._first_that_fits(wanted, value)
        custom = _nearest(self._types, wanted)
        if custom is not None:
            return custom.decode(value)
        validate = getattr(wanted, "model_validate", None)
        if validate is not None:
            return validate(value)
        base = base_of(wanted)
        if base is not None:
            return from_base(wanted, base, msgspec.convert(value, base))
        raise TypeError(f"no decoding for {wanted.__qualname__}; register it with App.register_type()")

    def _first_that_fits(self, wanted: Any, value: object) -> Any:
        for member in wanted.members:
            try:
                return self.convert(value, member)
            except Exception:
                continue
        raise ValueError(f"Expected `{wanted.__name__}`, got {value!r:.60}")


def check_custom(custom: CustomType) -> CustomType:
    """Check that the functions of *custom* would be called.

    Raises:
        InvalidOptions: It is no class, or one that msgspec encodes by itself.
    """
    cls: object = custom.cls
    if not isinstance(cls, type):
        raise InvalidOptions("type", cls, "a class")
    if _is_known(cls):
        expected = "a class that does not travel without this; the functions given for this one would never be called"
        raise InvalidOptions("type", cls, expected)
    return custom


def _is_known(cls: type[Any]) -> bool:
    if issubclass(cls, _WITH_SUBCLASSES) or dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        return True
    return not isinstance(msgspec.inspect.type_info(cls), msgspec.inspect.CustomType)


def _nearest(types: Mapping[Any, T], cls: Any) -> T | None:
    """Find what was registered for a class, or for the nearest of its bases: a `Path` is in truth a `PosixPath`."""
    for base in getattr(cls, "__mro__", (cls,)) if types else ():
        if base in types:
            return types[base]
    return None


def sniff(body: bytes) -> Format:
    """Tell the format of a map by its first byte."""
    return "msgpack" if body[:1] >= _MSGPACK else "json"


def _with_checked_headers(message: Message) -> Message:
    """Check what another program may have written; its names count in lower case."""
    assert message.headers
    try:
        return msgspec.structs.replace(message, headers=dict(check_headers("headers", lowered(message.headers))))
    except InvalidOptions as error:
        raise Undecodable(f"not a message: the field {error}") from None


class _Version(msgspec.Struct):
    v: int = VERSION


def _version_of(body: bytes) -> int:
    module = msgspec.json if sniff(body) == "json" else msgspec.msgpack
    try:
        version: _Version = module.decode(body, type=_Version)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return VERSION
    return version.v


def _too_new(version: int) -> str:
    return f"message version {version}, this worker understands {VERSION}"


def _is_or_holds_not_finite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_is_or_holds_not_finite(item) for item in cast("dict[Any, object]", value).values())
    if isinstance(value, list | tuple):
        return any(_is_or_holds_not_finite(item) for item in cast("list[object]", value))
    return False


_OUTCOME_FROM_JSON = msgspec.json.Decoder(Outcome).decode
_OUTCOME_FROM_MSGPACK = msgspec.msgpack.Decoder(Outcome).decode
_OUTCOME_TO_JSON = msgspec.json.Encoder().encode
_OUTCOME_TO_MSGPACK = msgspec.msgpack.Encoder().encode


def pack_outcome(outcome: Outcome, form: Format = "json") -> bytes:
    """Encode an outcome. Its `value`, if any, must be in the same format."""
    return _OUTCOME_TO_JSON(outcome) if form == "json" else _OUTCOME_TO_MSGPACK(outcome)


def unpack_outcome(body: bytes) -> Outcome:
    """Decode an outcome that `pack_outcome` made, in either format."""
    return _OUTCOME_FROM_JSON(body) if sniff(body) == "json" else _OUTCOME_FROM_MSGPACK(body)
