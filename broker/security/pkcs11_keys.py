"""A key in an HSM, used by PKCS#11: the private key never leaves the token. Needs the extra `hsm`.

The session is opened with the first use, so in the process that signs and never before a fork. All keys of a
token share it, because a process logs in to a token once. A session that fails, as after a restart of the
HSM, is opened once more.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from hashlib import sha384
from pathlib import Path
from typing import Any, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from broker.errors import ConfigurationError
from broker.security.key_provider import PublicPart, SigningFailed, refuse_unknown, required_text
from broker.security.public_keys import to_jwk

try:
    import pkcs11
    from pkcs11.exceptions import PKCS11Error, UserAlreadyLoggedIn
    from pkcs11.util.ec import encode_ec_public_key
    from pkcs11.util.rsa import encode_rsa_public_key
except ImportError as error:
    raise ConfigurationError(
        "The library for PKCS#11 is not installed. Run: pip install 'fhir-broker[hsm]'"
    ) from error

T = TypeVar("T")


class _Token:
    """A token of an HSM, and the session of this process with it. One thread uses it at a time."""

    def __init__(self, module: Path, label: str, pin_file: Path) -> None:
        self._module = module
        self.label = label
        self._pin_file = pin_file
        self._lock = threading.Lock()
        self._session: Any = None

    def in_session(self, use: Callable[[Any], T]) -> T:
        """What `use` returns. Raises `PKCS11Error` and `SigningFailed`."""
        with self._lock:
            if self._session is not None:
                try:
                    return use(self._session)
                except PKCS11Error:
                    self._end()
            try:
                self._session = self._opened()
                return use(self._session)
            except PKCS11Error:
                self._end()
                raise

    def _end(self) -> None:
        if self._session is not None:
            with contextlib.suppress(PKCS11Error):  # it is broken
                self._session.close()
            self._session = None

    def _opened(self) -> Any:
        try:
            pin = self._pin_file.read_text().strip()
        except OSError as error:
            raise SigningFailed(
                f"The file {self._pin_file} with the PIN cannot be read: {error.strerror}."
            ) from None
        try:
            library = pkcs11.lib(str(self._module))
        except RuntimeError:
            raise SigningFailed(f"The PKCS#11 module {self._module} cannot be loaded.") from None
        token = library.get_token(token_label=self.label)
        try:
            return token.open(user_pin=pin)
        except UserAlreadyLoggedIn:  # by a description with another file for the PIN
            return token.open()


_token = cache(_Token)


class Pkcs11Signer:
    """The key pair with a label in a token."""

    def __init__(self, token: _Token, label: str) -> None:
        self._token = token
        self._label = label

    @classmethod
    def parse(cls, members: dict[str, Any], folder: Path) -> Self:
        """`module` (the library of the HSM's maker), `token`, `label`, `pin_file`."""
        module, token, label, pin_file = (
            required_text(members, name) for name in ("module", "token", "label", "pin_file")
        )
        refuse_unknown(members)
        return cls(_token(folder / module, token, folder / pin_file), label)

    @cached_property
    def _public_key(self) -> PublicPart:
        key = load_der_public_key(self._in_session(self._read_public_key))
        if isinstance(key, RSAPublicKey) or (
            isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)
        ):
            return key
        raise SigningFailed(f"The key {self._label!r} of the HSM is neither RSA nor EC of the curve P-384.")

    @cached_property
    def public_jwk(self) -> Mapping[str, str]:
        return to_jwk(self._public_key)

    def sign(self, signing_input: bytes) -> bytes:
        is_rsa = isinstance(self._public_key, RSAPublicKey)

        def signature(session: Any) -> bytes:
            key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=self._label)
            if is_rsa:
                return bytes(key.sign(signing_input, mechanism=pkcs11.Mechanism.SHA384_RSA_PKCS))
            # the raw r and s, as JOSE wants them
            return bytes(key.sign(sha384(signing_input).digest(), mechanism=pkcs11.Mechanism.ECDSA))

        return self._in_session(signature)

    def _read_public_key(self, session: Any) -> bytes:
        key = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=self._label)
        encode = encode_rsa_public_key if key.key_type is pkcs11.KeyType.RSA else encode_ec_public_key
        return bytes(encode(key))

    def _in_session(self, use: Callable[[Any], T]) -> T:
        try:
            return self._token.in_session(use)
        except PKCS11Error as error:
            # the name alone: the text is the maker's
            raise SigningFailed(
                f"The HSM cannot use the key {self._label!r} of the token {self._token.label!r}:"
                f" {type(error).__name__}."
            ) from None
