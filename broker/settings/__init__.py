"""The settings of a process, read from the environment once, at start. The commands read them; builders get
values.
"""

from broker.settings.settings import Settings

__all__ = ["Settings"]
