"""Print the customers' moments of anger in a folder of calls, call by call.

python examples/moments_of_anger.py examples/calls
"""

import sys

from ser_batch import Config, analyze


def main(paths: list[str]) -> None:
    """Analyse the calls and print the moments of each."""
    config = Config.from_dict({"score": {"roles": ["agent", "customer"]}})
    for analysis in analyze(paths, config):
        if analysis.error:
            print(f"{analysis.path}: failed: {analysis.error}")
            continue
        print(f"{analysis.path}: {len(analysis.segments)} segments")
        for scored in analysis.segments:
            angry, interval = scored.probabilities["angry"], scored.interval
            if angry >= 0.3:
                when = f"{interval.start_s:6.2f} to {interval.end_s:6.2f} s"
                print(f"  {when}  angry {angry:.0%}")


# Decoding runs in processes of its own, and each of them imports this file.
if __name__ == "__main__":
    main(sys.argv[1:])
