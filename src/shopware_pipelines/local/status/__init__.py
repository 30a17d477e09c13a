"""`swp status`: what of a local stack should run, whether it does, and when each part last did something.

`gather` looks (facts), `judge` decides (pure), `report` is what comes out.
"""
