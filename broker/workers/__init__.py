"""The loops: matcher, dispatcher, inbox reader, housekeeper. Each may run in several processes at once."""
