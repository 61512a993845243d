"""Every setting and its kinds; read from the environment once, at start."""

from broker.settings.settings import Settings

__all__ = ["Settings"]
