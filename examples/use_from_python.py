"""The analysis as a Python iterator: prints the customer's moments of anger, call by call.

python examples/use_from_python.py examples/calls
"""

import sys

from ser_batch import Config, analyze


def main(paths: list[str]) -> None:
    config = Config.from_dict({"score": {"roles": ["agent", "customer"]}})
    for analysis in analyze(paths, config):
        if analysis.error:
            print(f"{analysis.path}: failed: {analysis.error}")
            continue
        print(f"{analysis.path}: {len(analysis.segments)} segments")
        for scored in analysis.segments:
            if scored.probabilities["angry"] >= 0.3:
                start_s, end_s = scored.segment.start_s, scored.segment.end_s
                print(
                    f"  {start_s:6.2f} to {end_s:6.2f} s  angry {scored.probabilities['angry']:.0%}"
                )


# Decoding runs in processes of its own, and each of them imports this file.
if __name__ == "__main__":
    main(sys.argv[1:])
