"""What is reported of an error while a connection is opened or a response is awaited."""

import os
import ssl

from broker.egress.http import HttpFailure
from broker.egress.http_connection import ConnectionEnded, NotHttp
from broker.egress.proxy import ProxyRefused
from broker.egress.requests import Target
from broker.egress.resolver import AddressesRefused, HostUnknown


def failure_of(error: Exception, target: Target) -> HttpFailure:
    """The failure to report: no looked-up address, and no part of the URL but its host."""
    match error:
        case AddressesRefused():
            return HttpFailure("refused-address", f"{target.host} has no address that may be notified")
        case HostUnknown():
            return HttpFailure("dns", f"{target.host} can't be resolved")
        case ProxyRefused() | ConnectionEnded() | NotHttp():
            return HttpFailure("no-response", str(error))
        case ssl.SSLCertVerificationError():
            return HttpFailure("no-response", f"the certificate is not accepted: {error.verify_message}")
        case ssl.SSLError():
            return HttpFailure("no-response", "no TLS connection could be made")
        case ConnectionResetError():
            return HttpFailure("no-response", "the connection was closed before an answer")
        case OSError(errno=number) if number:
            return HttpFailure("no-response", f"no connection: {os.strerror(number)}")
    return HttpFailure("no-response", "no connection: no address answers")
