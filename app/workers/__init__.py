"""The decisions about the workers of a session, and the values that they are made of. Knows no HTTP, no wire format.

`roster` says who may contribute, `arrivals` and `async_arrivals` what becomes of a contribution, `rounds` when a round
closes and with what. These are pure: no I/O, no clock. The rest is how ledgers are stored, answered and counted.
"""
