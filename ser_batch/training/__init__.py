"""Building a bundle from emotion corpora. Analysis never imports this package."""
