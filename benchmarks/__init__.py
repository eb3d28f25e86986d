"""What `searchflow bench` measures: one module a benchmark, figures beside a limit measured in the same run.

May import everything of ours but the dashboards' pages; nothing but the command line imports it. Not benchmarks are
`report` (the contract), `registry` (which benchmarks there are) and `support` (servers and child processes).
"""
