"""Benchmarks of `searchflow bench`: one module for each, with figures beside a limit measured in the same run.

May import every package of this project but the dashboards' pages; nothing but the command line imports it. Three
modules are no benchmarks: `report` (the contract), `registry` (which benchmarks there are) and `support` (servers and
child processes).
"""
