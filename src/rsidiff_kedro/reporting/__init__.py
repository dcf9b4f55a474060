"""Show a run: figures, contact sheets, a gallery, a report in one HTML file and a summary in words."""
