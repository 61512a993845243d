"""Decoders of what devices send that is not JSON: CSV lines and Bluetooth characteristics. Pure."""
