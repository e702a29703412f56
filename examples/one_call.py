"""Shows who speaks when in one call, and how the customer sounds.

python examples/one_call.py examples/calls/billing/1001.wav
"""

import sys

import ser_batch

model = ser_batch.load("telephone")
call = model.analyze(sys.argv[1], roles=["agent", "customer"])
talk = call.speech.assign(seconds=call.speech.end_s - call.speech.start_s)
print(talk.groupby("role").seconds.sum().round(1).to_string())
print(call.segments[["start_s", "end_s", "label", "confidence"]].round(2).to_string())
