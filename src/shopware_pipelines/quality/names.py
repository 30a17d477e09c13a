"""Names of the engine's own columns. Each has a blank in it, so no column of a contract is called the same.

As SQL writes them, but for the two that Arrow tables and DuckDB's results are asked for.
"""

from __future__ import annotations

from typing import Final

NUMBER_COLUMN: Final = "record number"
TEXT_COLUMN: Final = "record text"
NUMBER: Final = f'"{NUMBER_COLUMN}"'
TEXT: Final = f'"{TEXT_COLUMN}"'
PRESENT: Final = '"the present"'
"""The moment of checking, in epoch milliseconds."""
IS_JSON: Final = '"record is JSON"'
KEYS: Final = '"record keys"'
"""The keys of the object, in order, repeats included."""
MEMBERS: Final = '"record members"'
"""A struct of the known keys' values as JSON."""
OTHERS: Final = '"record others"'
"""The unknown fields as DuckDB spells them."""
EXTRA: Final = '"record extra"'
"""The unknown fields as a JSON object, null where there are none."""
FATE: Final = '"record fate"'
FAILING: Final = '"record failing"'
"""A list of whether each check fails."""
MALFORMED: Final = '"record malformed"'
"""Where and why a record is no JSON, as a sentence."""
REASONS: Final = '"record reasons"'
