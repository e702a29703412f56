"""`ser serve`: many calls at a time, over the protocols of telephone systems.

adapters (a file per protocol) -> Hub (calls, one worker) -> events, results
"""
