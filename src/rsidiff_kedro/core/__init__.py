"""What flows between the parts: image sets, prompt tables, adapters; errors, settings, plug-ins, untrusted input."""
