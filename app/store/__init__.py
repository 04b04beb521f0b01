"""Where sessions are kept: one interface (`base`), three stores."""
