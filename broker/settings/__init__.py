"""The settings of a process, read once, at start, from the environment and a TOML file. The commands read
them; builders get values.
"""

from broker.settings.settings import Settings

__all__ = ["Settings"]
