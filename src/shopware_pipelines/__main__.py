"""`python -m shopware_pipelines` is `swp`."""

from shopware_pipelines.cli import main

main()
