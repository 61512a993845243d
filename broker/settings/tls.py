"""The settings of TLS: of the listener, and of client certificates for endpoints. They are fields of
`Settings`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from broker.settings.environment import setting
from broker.settings.kinds import PATH, choice


@dataclass(frozen=True)
class TlsSettings:
    """Part of `Settings`."""

    tls_cert: Path | None = setting(
        None,
        PATH,
        "",
        "The PEM file with the certificate of the listener and its chain: the broker then speaks TLS, 1.2 at "
        "least. A renewed file is read again while connections go on.",
    )
    tls_key: Path | None = setting(
        None,
        PATH,
        "",
        "The PEM file with the key of the certificate. Unset: it is in the file of BROKER_TLS_CERT.",
    )
    tls_client_ca: Path | None = setting(
        None,
        PATH,
        "",
        "The PEM file with the authorities of client certificates (mTLS). Unset: clients need none.",
    )
    tls_client_auth: Literal["required", "optional"] = setting(
        "required",
        choice("required", "optional"),
        "required",
        "With BROKER_TLS_CLIENT_CA. required: a client without a certificate of these authorities cannot "
        "connect. optional: it can, and a certificate of another authority is refused.",
    )
    egress_client_certs: Path | None = setting(
        None,
        PATH,
        "",
        "The directory of the client certificates for endpoints that ask for one (mTLS): "
        "{tenant}/{host}.pem with certificate, chain and key. Renewed files are read again.",
    )
