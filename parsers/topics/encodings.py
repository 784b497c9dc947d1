"""Which decoder reads which message encoding: the one table, for every format that carries topics."""

from __future__ import annotations

from parsers.errors import ParseError, Unsupported
from parsers.limits import DEFAULT, Limits
from parsers.topics.decoder import DecoderFactory, Schema, TopicDecoder
from parsers.topics.json import json_decoder
from parsers.topics.protobuf import protobuf_decoder
from parsers.topics.ros import ros_decoder

DECODERS: dict[str, DecoderFactory] = {
    "json": json_decoder,
    "protobuf": protobuf_decoder,
    "ros1": ros_decoder,
    "cdr": ros_decoder,
}


def decoder_for(schema: Schema, limits: Limits = DEFAULT) -> TopicDecoder:
    """A fresh decoder for the messages of a schema. Raises Unsupported or another ParseError, with the reason."""
    factory = DECODERS.get(schema.message_encoding)
    if factory is None:
        raise Unsupported(f"no decoder for messages of encoding {schema.message_encoding!r}")
    try:
        return factory(schema, limits)
    except RecursionError:
        raise ParseError(f"the schema {schema.name!r} is nested too deeply") from None
