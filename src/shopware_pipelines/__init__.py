"""Three shop feeds, checked against written contracts, landed in a lake, and proven complete."""

__version__ = "0.1.0"
