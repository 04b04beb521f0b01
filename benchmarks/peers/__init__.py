"""Who takes the same AdamW step: this service, what people use in its place, and the least that any of them must do."""
