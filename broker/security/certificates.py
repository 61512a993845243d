"""Reads when the certificates of a PEM file expire."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from broker.errors import ConfigurationError


class Expiry(NamedTuple):
    """A certificate by its subject, such as `CN=broker.example.org`, and the moment after which it is not
    valid.
    """

    subject: str
    moment: datetime


def read_expiries(path: Path) -> Sequence[Expiry]:
    """Of every certificate of the file, in its order. Raises `ConfigurationError` for a file without one."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} has no certificate in PEM form, or a damaged one.") from error
    return [Expiry(each.subject.rfc4514_string(), each.not_valid_after_utc) for each in found]
