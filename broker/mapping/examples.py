"""The example payloads of the shipped mappings: one for each, with its name."""

from importlib.resources import files


def example_names() -> list[str]:
    """The names of the shipped mappings that have an example: all of them."""
    folder = files("broker").joinpath("mappings", "examples")
    return sorted(each.name.removesuffix(".json") for each in folder.iterdir() if each.name.endswith(".json"))


def example(name: str) -> bytes:
    """The example payload of a shipped mapping."""
    return files("broker").joinpath("mappings", "examples", f"{name}.json").read_bytes()
