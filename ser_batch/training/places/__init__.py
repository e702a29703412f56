"""Training for places that nobody has heard: many corpora, each with its own statistics.

segments     corpora -> segments as `ser analyze` cuts them
bank         segments -> features on disk, in several renderings (`renderings`)
draws        segments -> what each step hears, and the place that it is told
fitting      features, draws -> one network (`spectral` augments on the way)
leaving_out  networks without a corpus -> what they are worth on it
building     all of it -> a bundle
"""
