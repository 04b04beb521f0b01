"""Bytes to values and back: one codec a media type (`codecs`), and the session's own JSON (`session_json`)."""
