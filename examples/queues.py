"""Compare the queues of a results directory: anger, distress and silence.

ser analyze examples/calls --metadata examples/calls.csv --out results
python examples/queues.py results queue
"""

import sys

import ser_batch

results = ser_batch.open_results(sys.argv[1])
measures = results.measures(by=sys.argv[2])
wanted = ["angry_share", "distress_share", "silence_share"]
table = measures[measures.measure.isin(wanted)]
print(table.pivot(index="group", columns="measure", values="value").round(3))
