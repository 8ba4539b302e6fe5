"""NOAA High-Resolution Rapid Refresh."""
