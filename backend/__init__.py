"""HTTP, database and coordination of trainings. Never imports torch or ray."""

DISTRIBUTION = "starling-fl"
