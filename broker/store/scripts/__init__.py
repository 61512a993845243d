"""The Lua scripts of the store: one module a family of scripts, one typed function a script.

A function builds the script's keys and arguments and decodes its answer; nothing else calls a script. The Lua
files are in `broker/store/lua/`, and the head of each lists its keys, its arguments and what it returns.
"""
