"""Networks are fitted, searched for, calibrated, and written as bundles."""
