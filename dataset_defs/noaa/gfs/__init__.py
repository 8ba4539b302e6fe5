"""NOAA Global Forecast System."""
