"""The local stack: the shipped templates on an emulator, and a runner that plays AWS's compute services."""
