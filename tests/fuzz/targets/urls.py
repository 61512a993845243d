"""Endpoint URLs and mail addresses of subscriptions: whatever is accepted can be addressed by a request."""

from broker.channels.email import EmailChannel
from broker.egress.addresses import Allowance, check_form, check_url
from broker.egress.requests import Target as RequestTarget
from broker.egress.requests import request_head
from broker.egress.smtp import SendMail
from broker.model.subscription import Channel, ChannelType, PayloadContent
from tests.fuzz.target import Target, lines_of
from tests.subscriptions import stored_subscription


async def _send_nothing(*_: object, **__: object) -> None:
    """No mail is sent: addresses are checked only."""


_SEND: SendMail = _send_nothing  # type: ignore[assignment]  # never called
_SUBSCRIPTION = stored_subscription()
_MAIL = EmailChannel(_SEND, "broker@example.org")


def check(data: bytes) -> None:
    url, content_type = lines_of(data, 2)
    channel = Channel(ChannelType("email"), url, (), content_type, PayloadContent.ID_ONLY)
    _MAIL.check(_SUBSCRIPTION.changed(channel=channel))
    check_url(url, Allowance())
    if not check_form(url):
        target = RequestTarget.of(url)
        assert target.host, url
        assert 0 < target.port < 65536, url
        head = request_head(target, ())
        assert head.count(b"\r\n") == 4, head


TARGET = Target(
    check,
    [
        "https://example.org/hook",
        "https://[a]@",
        "https://user:secret@example.org/",
        "https://[2001:db8::1]:8443/a?b=c&d=%20e#f",
        "http://127.0.0.1:80/",
        "http://0x7f000001/",
        "https://example.org:/",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org.:443/..//%2e%2e",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://xn--mnchen-3ya.example/",
        "mailto:nurse@example.org\ntext/plain;attach=application/fhir+json",
        "mailto:a\r\nBcc: b@example.org\ntext/plain",
        "HTTPS://EXAMPLE.ORG",
        "//example.org",
        "https:///path",
        "https://[",
        "https://]",
        "https://[]",
        "https://:443",
        "https://a:b:c",
        "https://\u0661\u0662\u0663.example:\u0664/",
    ],
    """
    https:// http:// [ ] @ : %25 [::1] [v1.a] 127.0.0.1 .example ? # mailto:
    """,
)
