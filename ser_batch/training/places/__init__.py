"""Training for unseen places, on many corpora that are each normalised as a place.

segments     corpora -> segments, cut as `ser analyze` cuts them
bank         segments -> features on disk, in several renderings (`renderings`)
draws        segments -> the segments and the place of every step
fitting      features, draws -> one network (`spectral` augments the features)
leaving_out  networks trained without a corpus -> their figures on that corpus
trying       the recipe on each held-out corpus -> figures and calibration
building     everything together -> a bundle
"""
