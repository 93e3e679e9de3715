"""Pseudonyms: ids that only who has the key can tell to belong to a user."""

import hashlib
import hmac

import pyarrow as pa

PREFIX = "p-"
LENGTH = 32
"""Hexadecimal digits, 128 bits: two users of a dataset do not meet."""


def pseudonym(key: bytes, user_id: str) -> str:
    """The pseudonym of a user: HMAC-SHA256 of the id, shortened."""
    return PREFIX + hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:LENGTH]


def key_tag(key: bytes) -> str:
    """What tells two keys apart and gives neither away."""
    return hmac.new(key, b"which key is this", hashlib.sha256).hexdigest()[:16]


def with_pseudonyms(users: pa.Table, key: bytes) -> pa.Table:
    """Users under their pseudonyms; all else is as it was."""
    names = pa.array([pseudonym(key, user_id) for user_id in users["user_id"].to_pylist()], pa.string())
    return users.set_column(users.schema.get_field_index("user_id"), users.schema.field("user_id"), names)
