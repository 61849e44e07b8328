"""The same work on Taskflow and on what else there is: every system in processes of its own.

`comparison` is the benchmark, `program` what runs in those processes; each system is a module.
"""
