"""UUIDs of version 8 (RFC 9562), made from given bits or from names.

They cost less than those of the standard library.
"""

from hashlib import blake2b


def uuid8(bits: int) -> str:
    """The UUID of 128 bits, of which the version and the variant are overwritten."""
    digits = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid_of_names(*names: str) -> str:
    """The same UUID for the same names. For parts of a notification that must not change in a retry."""
    digits = blake2b("\n".join(names).encode(), digest_size=15).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[12:15]}-8{digits[15:18]}-{digits[18:30]}"
