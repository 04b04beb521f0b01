"""The contributions of workers, from their request to the step that they become, as `app.workers` decides. Knows no
HTTP.
"""
