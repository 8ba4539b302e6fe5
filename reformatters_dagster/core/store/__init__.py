"""Final stores: locations, uploads, metadata, reading, guards."""
