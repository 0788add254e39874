"""People and machines that can sign in."""
