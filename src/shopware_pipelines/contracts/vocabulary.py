"""The words of the Open Data Contract Standard 3.2, and what this engine does with each.

A key is *read* (or only documents, and is kept for people), *ignored* with a warning, because it promises something
that does not happen here but changes no record's fate, or *refused*, because without it a record would be judged
otherwise than its author meant. Any other key is a typing error. A test holds this table against the standard's own
JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

API_VERSIONS: Final = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0")
PHYSICAL: Final = {
    "string": ("STRING",),
    "integer": ("INT", "BIGINT"),
    "number": ("DOUBLE",),
    "boolean": ("BOOLEAN",),
    "timestamp": ("TIMESTAMP",),
    "date": ("DATE",),
}
"""The lake types each logical type may have."""
OTHER_TYPES: Final = ("time", "object", "array", "map", "vector")
"""Logical types of the standard that are not supported."""
CUSTOM: Final = ("trim", "default", "lineage")
"""Custom properties of a property: what the standard has no word for."""
LAKE: Final = "lake"
"""The server that is read."""
CATALOG_TABLE: Final = "catalogTable"
"""Its custom property."""
QUALITY_TYPES: Final = ("custom", "library", "sql", "text")
ENGINE: Final = "sql-row"
"""Of the rules that are run: those of type custom with this engine."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that one kind of object may have."""

    read: frozenset[str]
    """Used, or documentation for people."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """To the reason."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """To what to do instead."""

    def all(self) -> frozenset[str]:
        """Those that may be given."""
        return self.read | self.ignored.keys()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENT: Final = "id name physicalType description businessName deprecated synonyms authoritativeDefinitions tags"
NO_REFERENCES: Final = "records are checked one by one, without looking at other tables"
TOP: Final = Keys(
    _words(
        """apiVersion kind id name version status domain dataProduct tenant tags description schema servers
        slaProperties team authoritativeDefinitions customProperties contractCreatedTs"""
    ),
    ignored={
        "support": "nothing here uses it",
        "roles": "access is given by the templates in infra",
        "price": "nothing here uses it",
        "context": "nothing here uses it",
        "slaDefaultElement": "the standard has dropped it",
    },
)
OBJECT: Final = Keys(
    _words(f"{ELEMENT} logicalType physicalName dataGranularityDescription properties quality customProperties"),
    ignored={"relationships": NO_REFERENCES, "context": "nothing here uses it"},
)
PROPERTY: Final = Keys(
    _words(
        f"""{ELEMENT} physicalName logicalType logicalTypeOptions semanticType required primaryKey primaryKeyPosition
        partitioned partitionKeyPosition enum classification examples criticalDataElement quality
        transformLogic transformSourceObjects transformDescription customProperties"""
    ),
    ignored={
        "relationships": NO_REFERENCES,
        "unique": "records are checked one by one, so repeats are not found",
        "encryptedName": "columns are not encrypted one by one",
    },
    refused={
        "properties": "a field is text, a number, a boolean or a time, not an object; flatten it",
        "items": "a field is text, a number, a boolean or a time, not a list",
        "map": "a field is text, a number, a boolean or a time, not a map",
    },
)
RULE: Final = Keys(
    _words(
        """type engine name description dimension severity implementation id tags businessImpact
        authoritativeDefinitions customProperties"""
    ),
    ignored={
        "schedule": "a rule runs whenever a record is checked",
        "scheduler": "a rule runs whenever a record is checked",
        "method": "nothing here uses it",
        "unit": "nothing here uses it",
    },
)
"""Of a rule that is run; those that are ignored may say what they like."""
SERVER: Final = Keys(
    _words("server type id description environment roles customProperties location format"),
    ignored={
        "endpointUrl": "settings name the endpoint",
        "encoding": "records are UTF-8",
        "delimiter": "records are one a line, or one JSON array",
    },
)
SERVICE_LEVEL: Final = Keys(
    _words(
        """id property value valueExt unit element driver description scheduler schedule customProperties
        authoritativeDefinitions"""
    )
)
TEAM: Final = Keys(_words("id name description members tags customProperties authoritativeDefinitions"))
ENUM_VALUE: Final = Keys(_words("id value label description tags customProperties authoritativeDefinitions"))
CUSTOM_PROPERTY: Final = Keys(_words("id property value description vendor"))

_EXCLUSIVE: Final = {
    "exclusiveMinimum": "give minimum",
    "exclusiveMaximum": "give maximum",
    "multipleOf": f"give a rule with engine {ENGINE}",
}
_TIMES: Final = dict.fromkeys(
    ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), f"give a rule with engine {ENGINE}"
)
OPTIONS: Final = {
    "string": Keys(
        _words("minLength maxLength pattern"),
        ignored={"format": "it only names what the text is; give a pattern to check it"},
    ),
    "integer": Keys(_words("minimum maximum format"), refused=_EXCLUSIVE),
    "number": Keys(_words("minimum maximum format"), refused=_EXCLUSIVE),
    "boolean": Keys(frozenset()),
    "timestamp": Keys(
        _words("timezone"),
        refused={
            **_TIMES,
            "format": "times are epoch numbers or ISO 8601 with an offset",
            "defaultTimezone": "a time must say its offset",
        },
    ),
    "date": Keys(_words("format"), refused=_TIMES),
}
"""`logicalTypeOptions` of each logical type."""
FORMATS: Final = {
    "INT": "i32",
    "BIGINT": "i64",
    "DOUBLE": "f64",
    "DATE": "yyyy-MM-dd",
}
"""The one `format` that says of a lake type what is true of it anyway."""
