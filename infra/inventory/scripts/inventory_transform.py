"""Script of the Glue job `inventory_transform`; the work is in the package."""

from shopware_pipelines.inventory.transform import main

main()
