"""Running one attempt: where it runs, what is around the function, and how it ended.

Knows the core and the arguments. It never changes the state of a task: that is the driver's business.
"""
