"""Training of the voice model, with which the voices within a channel are told apart.

corpora, readers -> clips by speaker -> simulated telephone lines -> network
-> discriminant space -> conversations of unheard speakers -> confidence
"""
