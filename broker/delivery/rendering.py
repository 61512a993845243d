"""Renders a notification as the Bundle of its FHIR release."""

from broker.fhir.release import adapter
from broker.model.notification import Notification


class NotificationRenderer:
    """`base_url` is the broker's own, without the path of a release."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def __call__(self, notification: Notification) -> bytes:
        base = f"{self._base_url}/{notification.release}"
        return adapter(notification.release).render_notification(notification, base=base).text
