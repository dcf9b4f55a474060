"""Data types that all parts share, and errors, settings, plug-ins and untrusted input."""
