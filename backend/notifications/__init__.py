"""What participants and actors are told: an outbox in the database, pushed to webhooks."""
