"""What a program needs to use a broker with access control. It works against any server of SMART Backend
Services.
"""

from broker.client.backend_services import BackendServices

__all__ = ["BackendServices"]
