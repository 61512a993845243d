"""UUIDs of the broker's own making (version 8 of RFC 9562): random or derived bits in the usual spelling, cheaply."""

from hashlib import blake2b


def uuid8(bits: int) -> str:
    """128 bits, of which version and variant are overwritten."""
    digits = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived(*names: str) -> str:
    """The same for the same names, and another for others; what has no name of its own but must be told again alike."""
    digits = blake2b("\n".join(names).encode(), digest_size=15).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[12:15]}-8{digits[15:18]}-{digits[18:30]}"
