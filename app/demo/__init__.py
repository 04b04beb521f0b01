"""A demo: a small network learns hand-written digits, with its optimizer behind HTTP."""
