"""Entry point of `python -m ser_batch`."""

from ser_batch.cli.app import main

if __name__ == "__main__":
    main()
