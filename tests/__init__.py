"""The tests. A package, since a library that installs one of the same name would hide a mere folder."""
