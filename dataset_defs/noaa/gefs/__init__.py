"""NOAA Global Ensemble Forecast System."""
