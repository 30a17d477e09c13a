"""Script of the Glue job `inventory_validator`; the work is in the package."""

from shopware_pipelines.inventory.validate import main

main()
