"""The contracts: what each feed promises. `load("inventory")` gives one, `names()` lists the built-in ones."""

from shopware_pipelines.contracts.loader import load, load_file, names
from shopware_pipelines.contracts.model import Contract, DerivedColumn, Field, LineageColumn, Rule

__all__ = ["Contract", "DerivedColumn", "Field", "LineageColumn", "Rule", "load", "load_file", "names"]
