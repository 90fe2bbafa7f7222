"""What a person calls from Python: load a model and predict, build one for an own loop, train as the command does.

The functions are offered by ``visionattn`` itself; see ``docs/python.md``.
"""
