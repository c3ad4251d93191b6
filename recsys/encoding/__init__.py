"""From raw fields of a user, an item or a context to numbered features: the same in training and in serving."""

from recsys.encoding.encoder import Encoder, Record, field_kinds, field_names
from recsys.encoding.field import Field
from recsys.encoding.time_fields import TIME_FIELDS, time_context

__all__ = ["TIME_FIELDS", "Encoder", "Field", "Record", "field_kinds", "field_names", "time_context"]
