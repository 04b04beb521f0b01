"""One real training run, end to end: a small network learns hand-written digits, its optimizer behind HTTP."""
