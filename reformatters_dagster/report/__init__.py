"""A page about one store, for a browser: what it is, how complete, what its checks say, how its newest label looks.

In: an opened store, what is known of it, and perhaps a reference. Out: one HTML document that loads nothing.
"""
